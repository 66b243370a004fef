-- Keys of persons, each wrapped by a master key that is not in here. This database is stored and backed up apart from the log.
CREATE SCHEMA keys;

-- Master keys by their fingerprint. A closed one wraps no new key; a retired one has none left that it wrapped.
CREATE TABLE keys.master_keys (
    first_used_at timestamptz NOT NULL DEFAULT now(),
    closed_at     timestamptz,
    retired_at    timestamptz,
    master_id     text COLLATE "C" PRIMARY KEY
);

-- One key a person at a time. The person is known by a digest of the reference that the log has.
CREATE TABLE keys.subject_keys (
    created_at timestamptz NOT NULL DEFAULT now(),
    key_id     uuid PRIMARY KEY,
    subject    bytea NOT NULL UNIQUE CHECK (length(subject) = 32),
    wrapped    bytea NOT NULL,
    master_id  text COLLATE "C" NOT NULL REFERENCES keys.master_keys
);
CREATE INDEX subject_keys_by_master ON keys.subject_keys (master_id, key_id);

-- Keys that were destroyed, for ever. A request that found no key is kept, too, so that its repeat is told the same.
CREATE TABLE keys.erasures (
    number       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    erased_at    timestamptz NOT NULL,
    key_id       uuid UNIQUE,
    request_id   uuid NOT NULL,
    subject      bytea NOT NULL CHECK (length(subject) = 32),
    requested_by text COLLATE "C" NOT NULL,
    UNIQUE (requested_by, request_id)
);
