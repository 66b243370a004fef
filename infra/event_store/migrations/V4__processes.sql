-- What a process (settlement, timers) must remember between two events of its own; folded from the log up to `position`.
CREATE TABLE process_checkpoints (
    process  text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL,
    epoch    bigint NOT NULL
);
CREATE TABLE process_memory (
    process text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL,
    state   text NOT NULL,
    PRIMARY KEY (process, key)
);
-- What a process could not do for a reason of ours: shown, and retried by a command.
CREATE TABLE parked_work (
    process   text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    position  bigint NOT NULL,
    code      text NOT NULL,
    message   text NOT NULL,
    attempts  integer NOT NULL,
    parked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (process, key)
);
GRANT SELECT, INSERT, UPDATE, DELETE ON process_checkpoints, process_memory, parked_work TO jari_server;
