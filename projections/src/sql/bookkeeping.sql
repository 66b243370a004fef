-- A build is one making of a view: its own tables, and how far it has read the log. Rows and position move in one transaction.
-- Nothing that an update of the position touches is indexed, and the page has room: such updates leave the indexes alone.
CREATE TABLE IF NOT EXISTS views.builds (
    build              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view               text COLLATE "C" NOT NULL,
    version            integer NOT NULL,
    state              text NOT NULL CHECK (state IN ('building', 'live', 'retired')),
    position           bigint NOT NULL DEFAULT 0,
    epoch              bigint NOT NULL DEFAULT 0,
    quarantine_changes bigint NOT NULL DEFAULT 0,
    created_at         timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);
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
