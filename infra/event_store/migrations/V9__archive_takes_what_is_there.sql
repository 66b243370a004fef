-- The archive is part of every stream: a row that was never in `events` would be an event that nobody decided and no batch covers. So it takes
-- only what stands there, byte for byte; `refuse_loss` (V7) lets go only what stands here.
CREATE FUNCTION refuse_invention() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (
        SELECT FROM events e WHERE e.position = NEW.position AND e.recorded_at = NEW.recorded_at
            AND e.aggregate_type = NEW.aggregate_type AND e.aggregate_id = NEW.aggregate_id AND e.sequence = NEW.sequence
            AND e.event_type = NEW.event_type AND e.event_version = NEW.event_version
            AND e.payload::text = NEW.payload::text AND e.metadata::text = NEW.metadata::text)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the archive takes events of the log only: there is none like this at position %', NEW.position USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER archived_events_come_from_the_log BEFORE INSERT ON archived_events FOR EACH ROW EXECUTE FUNCTION refuse_invention();
-- New rows only: those that are there are looked at by `jari verify`. `events` numbers its rows itself.
ALTER TABLE archived_events ADD CONSTRAINT archived_events_have_a_place CHECK (position > 0) NOT VALID;
