-- The epoch of a role rises for ever: what was written under one is never taken for what an earlier owner wrote. A lease whose row is gone would begin at
-- 1 again, and whoever took it would be held for an owner of long ago and write nothing.
CREATE FUNCTION refuse_lost_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'a lease keeps its row and its epoch: % on leases is refused', TG_OP USING
        ERRCODE = 'insufficient_privilege',
        HINT = 'To free a role: UPDATE leases SET expires_at = clock_timestamp() WHERE name = ''...'';';
END $$;
CREATE TRIGGER leases_keep_their_epochs BEFORE DELETE OR TRUNCATE ON leases FOR EACH STATEMENT EXECUTE FUNCTION refuse_lost_epoch();
