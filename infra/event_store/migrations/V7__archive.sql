-- Old events may move to an archive, from which they are read as before. docs/model/archive.md says what stays, and why.
--
-- `events` cannot be partitioned by position: the key that settles who was first would have to contain it. So what is old moves to another table.
CREATE TABLE archived_events (LIKE events);
CREATE UNIQUE INDEX archived_events_position ON archived_events (position);
CREATE UNIQUE INDEX archived_events_sequence ON archived_events (aggregate_type, aggregate_id, sequence);
CREATE TRIGGER archived_events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON archived_events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The whole log, wherever its events are.
CREATE VIEW log_events AS
    SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at FROM events
    UNION ALL
    SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at FROM archived_events;

-- Up to `upto` events may be gone from `events`; up to `moved_to` they are, but for those that stay.
CREATE TABLE archive_horizon (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    upto     bigint NOT NULL DEFAULT 0,
    moved_to bigint NOT NULL DEFAULT 0 CHECK (moved_to <= upto)
);
INSERT INTO archive_horizon DEFAULT VALUES;
CREATE FUNCTION only_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.upto < OLD.upto OR NEW.moved_to < OLD.moved_to THEN
        RAISE EXCEPTION 'the archive''s horizon never moves back' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER horizon_moves_forward BEFORE UPDATE ON archive_horizon FOR EACH ROW EXECUTE FUNCTION only_forward();
CREATE TRIGGER horizon_stays BEFORE DELETE OR TRUNCATE ON archive_horizon FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- A row leaves `events` only when its copy stands in the archive, byte for byte, and never from the ends of its stream: the first keeps the id
-- taken, the last says the version.
CREATE FUNCTION refuse_loss() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF OLD.sequence > 1
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
DROP TRIGGER events_are_append_only ON events;
CREATE TRIGGER events_are_append_only BEFORE UPDATE OR TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER events_leave_for_the_archive_only BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION refuse_loss();

CREATE OR REPLACE FUNCTION record_foreign_batch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    head bytea;
BEGIN
    IF NEW.sequence > 1 AND NOT EXISTS (
        SELECT FROM events e WHERE e.aggregate_type = NEW.aggregate_type AND e.aggregate_id = NEW.aggregate_id AND e.sequence = NEW.sequence - 1
    ) THEN
        RAISE EXCEPTION 'sequence % of % % does not follow on the events before it', NEW.sequence, NEW.aggregate_type, NEW.aggregate_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF EXISTS (
        SELECT FROM archived_events a WHERE a.aggregate_type = NEW.aggregate_type AND a.aggregate_id = NEW.aggregate_id AND a.sequence = NEW.sequence
    ) THEN
        RAISE EXCEPTION 'sequence % of % % is there already, in the archive', NEW.sequence, NEW.aggregate_type, NEW.aggregate_id
            USING ERRCODE = 'unique_violation';
    END IF;
    SELECT b.chained_hash INTO head FROM batches b ORDER BY b.first_position DESC LIMIT 1;
    head := coalesce(head, (SELECT s.head FROM log_seal s));
    INSERT INTO batches (first_position, event_count, recorded_at, chained_hash) VALUES (NEW.position, 1, NEW.recorded_at,
        sha256(head || int8send(NEW.position) || int4send(1) || timestamptz_send(NEW.recorded_at)
            || event_digest(NEW.aggregate_type, NEW.aggregate_id, NEW.sequence, NEW.event_type, NEW.event_version, NEW.payload::text, NEW.metadata::text)));
    RETURN NULL;
END $$;

-- First the horizon, then the rows. An append holds the log's lock: it came before the horizon, and met all rows, or it sees the horizon. So the
-- rows can move while others append.
CREATE FUNCTION raise_archive_horizon(before bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE SET search_path = public, pg_temp AS $$
DECLARE
    raised bigint;
BEGIN
    PERFORM lock_log_head();
    UPDATE archive_horizon h
        SET upto = greatest(h.upto, least(before - 1, coalesce((SELECT e.position FROM events e ORDER BY e.position DESC LIMIT 1), 0)))
        RETURNING h.upto INTO raised;
    RETURN raised;
END $$;

-- Moves what is to move of the next `most` rows below the horizon. `reached` = `upto`: done. One at a time, by the lock on the horizon's row.
CREATE FUNCTION archive_events(most integer, OUT moved integer, OUT reached bigint, OUT upto bigint)
LANGUAGE plpgsql VOLATILE SET search_path = public, pg_temp AS $$
DECLARE
    after bigint;
    last bigint;
BEGIN
    SELECT h.moved_to, h.upto INTO after, upto FROM archive_horizon h FOR UPDATE;
    SELECT max(p.position) INTO last
        FROM (SELECT e.position FROM events e WHERE e.position > after AND e.position <= archive_events.upto ORDER BY e.position LIMIT most) p;
    reached := coalesce(last, upto);
    INSERT INTO archived_events
        SELECT e.* FROM events e WHERE e.position > after AND e.position <= reached AND e.sequence > 1 AND EXISTS (
            SELECT FROM events l WHERE l.aggregate_type = e.aggregate_type AND l.aggregate_id = e.aggregate_id AND l.sequence > e.sequence);
    GET DIAGNOSTICS moved = ROW_COUNT;
    DELETE FROM events e WHERE e.position > after AND e.position <= reached AND EXISTS (SELECT FROM archived_events a WHERE a.position = e.position);
    UPDATE archive_horizon h SET moved_to = reached;
END $$;

-- The archiver's rights: the only role that may take a row out of `events`.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jari_archiver') THEN
        CREATE ROLE jari_archiver NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this server made it at the same moment
END $$;
DO $$
BEGIN
    EXECUTE format('GRANT jari_archiver TO %I', CURRENT_USER);
EXCEPTION WHEN insufficient_privilege THEN
    NULL; -- it belongs to another owner of this server: who archives is then granted the role by its superuser
END $$;
GRANT USAGE ON SCHEMA public TO jari_archiver;
GRANT SELECT ON events, archived_events, archive_horizon, batches, log_seal, log_identity, log_events TO jari_archiver;
GRANT DELETE ON events TO jari_archiver;
GRANT INSERT ON archived_events TO jari_archiver;
GRANT UPDATE ON archive_horizon TO jari_archiver;
GRANT SELECT ON archived_events, archive_horizon, log_events TO jari_server;
REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON archived_events FROM CURRENT_USER;
REVOKE ALL ON FUNCTION raise_archive_horizon, archive_events FROM public;
GRANT EXECUTE ON FUNCTION raise_archive_horizon, archive_events, lock_log_head TO jari_archiver;
