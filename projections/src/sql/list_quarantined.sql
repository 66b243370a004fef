-- $1 view or null, $2 view, $3 type, $4 id of the last one before, $5 rows at most.
SELECT b.view, q.aggregate_type, q.aggregate_id, q.position, q.code, q.error, q.at,
    (SELECT count(*) FROM log_events e
     WHERE e.aggregate_type = q.aggregate_type AND e.aggregate_id = q.aggregate_id AND e.sequence >= q.sequence AND e.position <= b.position)
FROM views.quarantine q JOIN views.builds b USING (build)
WHERE b.state = 'live' AND ($1::text IS NULL OR b.view = $1) AND (b.view, q.aggregate_type, q.aggregate_id) > ($2, $3, $4)
ORDER BY b.view, q.aggregate_type, q.aggregate_id LIMIT $5
