SELECT s.aggregate_type, s.aggregate_id, s.sequence, s.version, s.state, s.last_time
FROM unnest($1::text[], $2::text[]) u (kind, id)
JOIN snapshots s ON s.aggregate_type = u.kind AND s.aggregate_id = u.id
