-- Functions that run with the owner's rights look for tables in `public` first and among the caller's temporary ones last: otherwise the
-- server's role could plant a temporary `batches` with a trigger of its own, which the owner would then run.
ALTER FUNCTION append_batch SET search_path = public, pg_temp;
ALTER FUNCTION next_position SET search_path = public, pg_temp;
ALTER FUNCTION next_recorded_at SET search_path = public, pg_temp;

-- Another writer's event follows on the one before it in its stream. The primary key alone would let it leave a gap, into which an append
-- of ours would then fall: late, and decided on a state that was not the newest.
CREATE OR REPLACE FUNCTION record_foreign_batch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.sequence > 1 AND NOT EXISTS (
        SELECT FROM events e WHERE e.aggregate_type = NEW.aggregate_type AND e.aggregate_id = NEW.aggregate_id AND e.sequence = NEW.sequence - 1
    ) THEN
        RAISE EXCEPTION 'sequence % of % % does not follow on the events before it', NEW.sequence, NEW.aggregate_type, NEW.aggregate_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    INSERT INTO batches (first_position, event_count, recorded_at) VALUES (NEW.position, 1, NEW.recorded_at);
    RETURN NULL;
END $$;
