-- $1 view, $2 lease. One row, also when there is no build.
SELECT coalesce(b.build, 0), coalesce(b.version, 0), coalesce(b.position, 0),
    (SELECT count(*) FROM views.quarantine q WHERE q.build = b.build),
    (SELECT max(n.position) FROM views.builds n WHERE n.view = $1 AND n.state = 'building'),
    (SELECT l.holder FROM leases l WHERE l.name = $2 AND l.expires_at > clock_timestamp()),
    coalesce((SELECT e.position FROM events e ORDER BY e.position DESC LIMIT 1), 0)
FROM (VALUES (1)) one LEFT JOIN views.builds b ON b.view = $1 AND b.state = 'live'
