-- What the archiver's role does wrong cannot be undone: the archive is append-only and its horizon never moves back. So the database itself keeps it to
-- what `jari archive` does. V7 and V9 asked that a row leaves only when its copy stands in the archive, and that a copy is of a row. They did not ask
-- that the row then leaves, or that both happen below the horizon, by which appends know when to look.
--
-- First `archived_events`, then `archive_horizon`: a piece that is on its way holds the first and asks for the second. Neither waits for who only reads,
-- and no append waits for this.

-- A copy whose row stays would be told twice. Asked at the commit: within the transaction the copy comes first.
CREATE FUNCTION refuse_second_telling() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM events e WHERE e.position = NEW.position) THEN
        RAISE EXCEPTION 'the log tells each event once: position % stands in the archive, and in events still', NEW.position
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER archived_events_have_left_the_log AFTER INSERT ON archived_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_second_telling();

-- Below the horizon only: an append that knew all up to there does not ask whether what it would meet has moved.
CREATE OR REPLACE FUNCTION refuse_invention() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.position > (SELECT h.upto FROM archive_horizon h) THEN
        RAISE EXCEPTION 'the archive takes events up to its horizon only: position % is beyond it', NEW.position USING ERRCODE = 'insufficient_privilege';
    END IF;
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
CREATE OR REPLACE FUNCTION refuse_loss() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF OLD.sequence > 1 AND OLD.position <= (SELECT h.upto FROM archive_horizon h)
        AND EXISTS (SELECT FROM events e WHERE e.aggregate_type = OLD.aggregate_type AND e.aggregate_id = OLD.aggregate_id AND e.sequence > OLD.sequence)
        AND EXISTS (
            SELECT FROM archived_events a WHERE a.position = OLD.position AND a.recorded_at = OLD.recorded_at
                AND a.aggregate_type = OLD.aggregate_type AND a.aggregate_id = OLD.aggregate_id AND a.sequence = OLD.sequence
                AND a.event_type = OLD.event_type AND a.event_version = OLD.event_version
                AND a.payload::text = OLD.payload::text AND a.metadata::text = OLD.metadata::text)
    THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the log is append-only: DELETE on events is refused, but of what was archived' USING ERRCODE = 'insufficient_privilege';
END $$;

-- A horizon that was set by hand, before this forbade it, comes to where it must be: not before what has moved, and not beyond the log, where it would
-- have every append look for ever. What says that it moved more than there is says nothing of what did: then all is looked at once more.
ALTER TABLE archive_horizon DISABLE TRIGGER horizon_moves_forward;
UPDATE archive_horizon h SET upto = t.upto, moved_to = CASE WHEN h.moved_to > t.upto THEN 0 ELSE h.moved_to END
    FROM (SELECT least(greatest(o.upto, coalesce((SELECT a.position FROM archived_events a ORDER BY a.position DESC LIMIT 1), 0)),
                       coalesce((SELECT e.position FROM events e ORDER BY e.position DESC LIMIT 1), 0)) AS upto FROM archive_horizon o) t;
ALTER TABLE archive_horizon ENABLE TRIGGER horizon_moves_forward;

CREATE OR REPLACE FUNCTION only_forward() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF NEW.upto < OLD.upto OR NEW.moved_to < OLD.moved_to THEN
        RAISE EXCEPTION 'the archive''s horizon never moves back' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF NEW.upto > OLD.upto AND NEW.upto > coalesce((SELECT e.position FROM events e ORDER BY e.position DESC LIMIT 1), 0) THEN
        RAISE EXCEPTION 'the archive''s horizon never lies beyond the log: there is no position %', NEW.upto USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
-- Whoever raises it holds the log's lock until they commit, and before they hold the row, as raise_archive_horizon does (V7): the other way round the two
-- would wait for each other, and all appends for them. What moves (archive_events) sets `moved_to` alone and needs no lock.
CREATE FUNCTION lock_log_head_first() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM lock_log_head();
    RETURN NULL;
END $$;
CREATE TRIGGER horizon_rises_under_the_lock BEFORE UPDATE OF upto ON archive_horizon FOR EACH STATEMENT EXECUTE FUNCTION lock_log_head_first();

-- It moves rows, and has no use for the rest: `digest_key` least of all.
REVOKE SELECT ON log_identity, batches, log_seal, log_events FROM jari_archiver;
