-- $1 events after the head, as one batch, and a command for each.
WITH head AS MATERIALIZED (SELECT coalesce(max(position), 0) AS position, set_config('jari.appending', 'on', true) FROM events),
made AS MATERIALIZED (SELECT h.position + n AS position, uuidv7() AS id FROM head h, generate_series(1, $1::bigint) n),
events AS (
    INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at)
    SELECT 'Order', m.id::text, 1, 'OrderConfirmed', '1.0', '{"OrderConfirmed":{}}',
        json_build_object('command_id', m.id, 'correlation_id', m.id, 'actor', 'bench', 'decided_at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
        m.position, clock_timestamp()
    FROM made m RETURNING 1),
batches AS (INSERT INTO batches (first_position, event_count, recorded_at, chained_hash) SELECT h.position + 1, $1, clock_timestamp(), sha256('bench') FROM head h RETURNING 1)
INSERT INTO commands (command_id, caller, digest, position, refusal, recorded_at)
SELECT m.id, 'bench', decode(md5(m.id::text), 'hex'), m.position, NULL, clock_timestamp() FROM made m
