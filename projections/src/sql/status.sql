-- $1 view, $2 lease. One row, also when there is no build. The last four: of the build that is being made beside, if there is one: its position, where
-- and how many seconds ago whoever is or was at it took it up, whether somebody is at it now, that is, holds the lock of `jari rebuild`.
SELECT coalesce(b.build, 0), coalesce(b.version, 0), coalesce(b.position, 0),
    (SELECT count(*) FROM views.quarantine q WHERE q.build = b.build),
    (SELECT l.holder FROM leases l WHERE l.name = $2 AND l.expires_at > clock_timestamp()),
    coalesce((SELECT e.position FROM events e ORDER BY e.position DESC LIMIT 1), 0),
    n.position, coalesce(n.taken_up_from, 0), extract(epoch FROM clock_timestamp() - n.taken_up_at)::double precision,
    EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        AND l.classid::bigint << 32 | l.objid::bigint = hashtextextended('jari.rebuild.' || $1, 0))
FROM (VALUES (1)) one LEFT JOIN views.builds b ON b.view = $1 AND b.state = 'live'
LEFT JOIN LATERAL (SELECT * FROM views.builds x WHERE x.view = $1 AND x.state = 'building' ORDER BY x.position DESC LIMIT 1) n ON true
