-- The log: one totally ordered, append-only history; the record of commands; snapshots; leases.

-- Made once. `digest_key` keys the digests of commands, so that they say nothing about what they digest.
CREATE TABLE log_identity (
    only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    log_id     uuid NOT NULL DEFAULT gen_random_uuid(),
    digest_key bytea NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()),
    created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO log_identity DEFAULT VALUES;

-- The names of the first seven columns are those that stock postgres-es reads and writes.
-- Ids collate by byte: comparing them by a language costs a quarter of the speed of an append.
CREATE TABLE events (
    aggregate_type text COLLATE "C" NOT NULL,
    aggregate_id   text COLLATE "C" NOT NULL,
    sequence       bigint NOT NULL CHECK (sequence > 0),
    event_type     text COLLATE "C" NOT NULL,
    event_version  text COLLATE "C" NOT NULL,
    payload        json NOT NULL,
    metadata       json NOT NULL,
    position       bigint NOT NULL,
    recorded_at    timestamptz NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
);
CREATE UNIQUE INDEX events_position ON events (position);

-- A row for each append; `chained_hash` is filled from the day on which the log is sealed.
CREATE TABLE batches (
    first_position bigint PRIMARY KEY,
    event_count    integer NOT NULL CHECK (event_count > 0),
    recorded_at    timestamptz NOT NULL,
    chained_hash   bytea
);

-- What became of a command: `position` is the log's head when it was settled; `refusal` is null when it was done.
CREATE TABLE commands (
    command_id  uuid NOT NULL,
    caller      text COLLATE "C" NOT NULL,
    digest      bytea NOT NULL,
    position    bigint NOT NULL,
    refusal     json,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (command_id, caller)
);
CREATE INDEX commands_recorded_at ON commands USING brin (recorded_at) WITH (pages_per_range = 16, autosummarize = on);

-- Never needed, always safe to delete: a state that was read from the log once.
CREATE TABLE snapshots (
    aggregate_type text COLLATE "C" NOT NULL,
    aggregate_id   text COLLATE "C" NOT NULL,
    sequence       bigint NOT NULL,
    version        integer NOT NULL,
    state          text NOT NULL,
    last_time      timestamptz NOT NULL,
    recorded_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (aggregate_type, aggregate_id)
);

-- One owner at a time of each role. The epoch rises with each new owner and is checked in the append.
CREATE TABLE leases (
    name       text COLLATE "C" PRIMARY KEY,
    holder     text NOT NULL,
    address    text NOT NULL,
    epoch      bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

-- The log's head is a lock, not a row: whoever holds it until commit is the only one who can see the greatest position and add to it.
-- A row would be updated by each append, and a snapshot that is held open anywhere in this database would keep every old version of it.
CREATE FUNCTION lock_log_head() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(hashtextextended('jari.log_head', 0));
$$;

-- For writers that insert the seven columns only. The lock is held from here until they commit.
CREATE FUNCTION next_position() RETURNS bigint LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM lock_log_head();
    RETURN coalesce((SELECT e.position FROM events e ORDER BY e.position DESC LIMIT 1), 0) + 1;
END $$;

CREATE FUNCTION next_recorded_at() RETURNS timestamptz LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM lock_log_head();
    RETURN greatest(clock_timestamp(), (SELECT e.recorded_at FROM events e ORDER BY e.position DESC LIMIT 1));
END $$;

ALTER TABLE events ALTER COLUMN position SET DEFAULT next_position();
ALTER TABLE events ALTER COLUMN recorded_at SET DEFAULT next_recorded_at();

CREATE FUNCTION record_foreign_batch() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO batches (first_position, event_count, recorded_at) VALUES (NEW.position, 1, NEW.recorded_at);
    RETURN NULL;
END $$;

CREATE TRIGGER events_of_other_writers AFTER INSERT ON events FOR EACH ROW
    WHEN (current_setting('jari.appending', true) IS DISTINCT FROM 'on')
    EXECUTE FUNCTION record_foreign_batch();

-- Append-only for everybody, owner included.
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER events_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER identity_is_for_ever BEFORE UPDATE OR DELETE OR TRUNCATE ON log_identity FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
