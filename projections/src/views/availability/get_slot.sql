-- $1 build, $2 slot, $3 now.
SELECT b.position, b.state = 'live',
    (SELECT q.aggregate_id FROM views.quarantine q WHERE q.build = $1 AND q.aggregate_type = 'InventorySlot' AND q.aggregate_id = $2),
    s.slot_id, s.pool_id, s.starts_at, s.ends_at, s.status, s.capacity, s.held, s.confirmed, h.lapsed, h.earliest
FROM views.builds b LEFT JOIN build.slots s ON s.slot_id = $2
LEFT JOIN LATERAL (
    SELECT sum(x.quantity) FILTER (WHERE x.expires_at <= $3::timestamptz)::bigint AS lapsed, min(x.expires_at) FILTER (WHERE x.expires_at > $3::timestamptz) AS earliest
    FROM build.holds x WHERE x.slot_id = s.slot_id AND s.held > 0
) h ON true
WHERE b.build = $1
