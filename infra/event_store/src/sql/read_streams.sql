-- $1 types, $2 ids, $3 versions already known, $4 rows at most. Stream by stream in the order asked, each in order of its events.
SELECT e.position, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::text, e.metadata::text, e.recorded_at, u.ordinal
FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY u (kind, id, after, ordinal)
CROSS JOIN LATERAL (
    SELECT * FROM log_events v
    WHERE v.aggregate_type = u.kind AND v.aggregate_id = u.id AND v.sequence > u.after
    ORDER BY v.sequence LIMIT $4
) e
ORDER BY u.ordinal, e.sequence
LIMIT $4
