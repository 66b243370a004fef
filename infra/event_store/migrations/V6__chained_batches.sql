-- The log becomes tamper-evident: each batch chains the digests of its events to the head before it. docs/model/tamper-evidence.md says
-- what that proves, and against whom; docs/decisions/0011-a-digest-for-each-event.md says why so.

-- What one event's stored bytes come to. The program makes the same digest from what it sends (seal.rs); here it serves writers that
-- insert the seven columns, and the log from before.
CREATE FUNCTION event_digest(aggregate_type text, aggregate_id text, sequence bigint, event_type text, event_version text, payload text, metadata text)
RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT sha256(
        int4send(octet_length(convert_to(aggregate_type, 'UTF8'))) || convert_to(aggregate_type, 'UTF8')
        || int4send(octet_length(convert_to(aggregate_id, 'UTF8'))) || convert_to(aggregate_id, 'UTF8')
        || int8send(sequence)
        || int4send(octet_length(convert_to(event_type, 'UTF8'))) || convert_to(event_type, 'UTF8')
        || int4send(octet_length(convert_to(event_version, 'UTF8'))) || convert_to(event_version, 'UTF8')
        || int4send(octet_length(convert_to(payload, 'UTF8'))) || convert_to(payload, 'UTF8')
        || int4send(octet_length(convert_to(metadata, 'UTF8'))) || convert_to(metadata, 'UTF8'))
$$;

-- Where the chain begins. A new log begins with a digest of its id; one from before with a digest of all that it held on this day.
CREATE TABLE log_seal (
    only_row  boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position  bigint NOT NULL,
    head      bytea NOT NULL CHECK (octet_length(head) = 32),
    sealed_at timestamptz NOT NULL DEFAULT now()
);
DO $$
DECLARE
    sealed bytea := (SELECT sha256(convert_to('jari log ', 'UTF8') || uuid_send(log_id)) FROM log_identity);
    last bigint := 0;
    e record;
BEGIN
    PERFORM lock_log_head();
    FOR e IN SELECT * FROM events ORDER BY position LOOP
        sealed := sha256(sealed || int8send(e.position) || timestamptz_send(e.recorded_at)
            || event_digest(e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::text, e.metadata::text));
        last := e.position;
    END LOOP;
    INSERT INTO log_seal (position, head) VALUES (last, sealed);
END $$;
CREATE TRIGGER seal_is_for_ever BEFORE UPDATE OR DELETE OR TRUNCATE ON log_seal FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER batches_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON batches FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE batches ADD CONSTRAINT batches_are_chained CHECK (chained_hash IS NOT NULL AND octet_length(chained_hash) = 32) NOT VALID;
GRANT SELECT ON log_seal TO jari_server;
