-- $1 build, $2 product, $3 option, or empty for any, $4 id of the last slot before, $5 now, $6 rows at most.
-- The third column: a slot of these that is held back.
WITH pools AS MATERIALIZED (
    SELECT DISTINCT d.pool_id FROM build.draws d WHERE d.product_id = $2 AND ($3::text = '' OR d.option_id = $3)
)
SELECT b.position, b.state = 'live',
    (SELECT min(q.aggregate_id) FROM views.quarantine q
     WHERE q.build = $1 AND (q.aggregate_type = 'Product' AND q.aggregate_id = $2
         OR q.aggregate_type = 'InventorySlot' AND q.aggregate_id IN (SELECT p.pool_id || '@stock' FROM pools p))),
    s.slot_id, s.pool_id, s.starts_at, s.ends_at, s.status, s.capacity, s.held, s.confirmed, h.lapsed, h.earliest
FROM views.builds b LEFT JOIN LATERAL (
    SELECT r.* FROM pools p JOIN build.slots r ON r.slot_id = p.pool_id || '@stock'
    WHERE r.slot_id > $4::text ORDER BY r.slot_id LIMIT $6
) s ON true
LEFT JOIN LATERAL (
    SELECT sum(x.quantity) FILTER (WHERE x.expires_at <= $5::timestamptz)::bigint AS lapsed, min(x.expires_at) FILTER (WHERE x.expires_at > $5::timestamptz) AS earliest
    FROM build.holds x WHERE x.slot_id = s.slot_id AND s.held > 0
) h ON true
WHERE b.build = $1
ORDER BY s.slot_id
