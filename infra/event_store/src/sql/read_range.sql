SELECT e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::text, e.metadata::text, e.recorded_at
FROM log_events e WHERE e.position > $1 AND e.position <= $2 AND e.aggregate_type = ANY ($3::text[]) ORDER BY e.position
