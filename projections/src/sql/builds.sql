-- A build is one making of a view: its own tables, and how far it has read the log. Rows and position move in one transaction.
-- Nothing that an update of the position touches is indexed, and the page has room: such updates leave the indexes alone.
CREATE TABLE IF NOT EXISTS views.builds (
    build              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view               text COLLATE "C" NOT NULL,
    version            integer NOT NULL,
    state              text NOT NULL CHECK (state IN ('building', 'live', 'retired', 'replaying', 'replayed')),
    position           bigint NOT NULL DEFAULT 0,
    epoch              bigint NOT NULL DEFAULT 0,
    quarantine_changes bigint NOT NULL DEFAULT 0,
    created_at         timestamptz NOT NULL DEFAULT now(),
    as_of              bigint,
    taken_up_at        timestamptz,
    taken_up_from      bigint
) WITH (fillfactor = 20);
-- Made by a program that knew no replays: where one ends, and since when and from where a build is being made by whoever is at it. The table is
-- looked at first, since each ALTER waits for everybody who reads it.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'views.builds'::regclass AND attname = 'as_of') THEN
        ALTER TABLE views.builds ADD COLUMN as_of bigint, ADD COLUMN taken_up_at timestamptz, ADD COLUMN taken_up_from bigint,
            DROP CONSTRAINT builds_state_check,
            ADD CONSTRAINT builds_state_check CHECK (state IN ('building', 'live', 'retired', 'replaying', 'replayed'));
    END IF;
END $$;
CREATE UNIQUE INDEX IF NOT EXISTS builds_one_live ON views.builds (view) WHERE state = 'live';

-- Streams that a build could not read on: their events from `position` on wait.
CREATE TABLE IF NOT EXISTS views.quarantine (
    build          bigint NOT NULL REFERENCES views.builds ON DELETE CASCADE,
    aggregate_type text COLLATE "C" NOT NULL,
    aggregate_id   text COLLATE "C" NOT NULL,
    position       bigint NOT NULL,
    sequence       bigint NOT NULL,
    code           text NOT NULL,
    error          text NOT NULL,
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (build, aggregate_type, aggregate_id)
);
