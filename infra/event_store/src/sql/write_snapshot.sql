-- An older snapshot never replaces a newer one.
INSERT INTO snapshots (aggregate_type, aggregate_id, sequence, version, state, last_time)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE
SET sequence = excluded.sequence, version = excluded.version, state = excluded.state, last_time = excluded.last_time, recorded_at = now()
WHERE snapshots.sequence < excluded.sequence OR snapshots.version <> excluded.version
