-- An older snapshot never replaces a newer one. None reaches beyond its stream: where a failover has lost the end of that, what comes there anew would never be
-- folded. The last event of a stream is never archived.
INSERT INTO snapshots (aggregate_type, aggregate_id, sequence, version, state, last_time)
SELECT $1, $2, $3, $4, $5, $6
WHERE EXISTS (SELECT 1 FROM events e WHERE e.aggregate_type = $1 AND e.aggregate_id = $2 AND e.sequence >= $3)
ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE
SET sequence = excluded.sequence, version = excluded.version, state = excluded.state, last_time = excluded.last_time, recorded_at = now()
WHERE snapshots.sequence < excluded.sequence OR snapshots.version <> excluded.version
