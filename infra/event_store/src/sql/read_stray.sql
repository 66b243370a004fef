-- Before the first position; in the archive behind what may have been moved. $1 rows at most.
SELECT * FROM (
    SELECT 'events', e.position FROM events e WHERE e.position < 1
    UNION ALL
    SELECT 'archived_events', a.position FROM archived_events a WHERE a.position < 1 OR a.position > (SELECT h.upto FROM archive_horizon h)
) stray LIMIT $1
