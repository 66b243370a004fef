-- $1 rows: the event and the command of one hold each, in the shape and size in which the engine writes them.
WITH written AS (
    INSERT INTO limit_events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, position, recorded_at)
    SELECT 'InventorySlot', 'limit-' || $2::int % 1000 || '@stock', p.position, 'UnitsHeld', '1.0', $3::text::json, $4::text::json, p.position, clock_timestamp()
    FROM (SELECT nextval('limit_positions') AS position FROM generate_series(1, $1::int)) p RETURNING 1)
INSERT INTO limit_commands (command_id, caller, digest, position, refusal, recorded_at)
SELECT u, 'bench', decode(md5(u::text), 'hex'), 1, NULL, clock_timestamp() FROM unnest($5::uuid[]) u
