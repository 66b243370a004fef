SELECT e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::text, e.metadata::text, e.recorded_at
FROM log_events e WHERE e.position > $1 ORDER BY e.position LIMIT $2
