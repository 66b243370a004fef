SELECT count(*) FILTER (WHERE e.position = $1::bigint + e.place)
FROM (SELECT l.position, row_number() OVER (ORDER BY l.position) AS place FROM log_events l WHERE l.position > $1 AND l.position <= $2) e
