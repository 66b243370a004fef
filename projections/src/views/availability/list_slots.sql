-- $1 build, $2 product, $3 option, or empty for any, $4 first instant and $5 the first after the last, $6 start and $7 id of the last slot before,
-- $8 now, $9 rows at most, $10 and $11 as $4 and $5, as slots' ids write them. The third column: a slot of these that is held back.
WITH pools AS MATERIALIZED (
    SELECT DISTINCT d.pool_id FROM build.draws d WHERE d.product_id = $2 AND ($3::text = '' OR d.option_id = $3)
)
SELECT b.position, b.state = 'live',
    (SELECT min(q.aggregate_id) FROM views.quarantine q
     WHERE q.build = $1 AND (q.aggregate_type = 'Product' AND q.aggregate_id = $2
         OR q.aggregate_type = 'InventorySlot' AND split_part(q.aggregate_id, '@', 1) IN (SELECT p.pool_id FROM pools p)
             AND split_part(q.aggregate_id, '@', 2) >= $10::text AND split_part(q.aggregate_id, '@', 2) < $11::text)),
    s.slot_id, s.pool_id, s.starts_at, s.ends_at, s.status, s.capacity, s.held, s.confirmed, h.lapsed, h.earliest
FROM views.builds b LEFT JOIN LATERAL (
    SELECT r.* FROM pools p JOIN build.slots r ON r.pool_id = p.pool_id
    WHERE r.starts_at >= $4::timestamptz AND r.starts_at < $5::timestamptz AND (r.starts_at, r.slot_id) > ($6::timestamptz, $7::text)
    ORDER BY r.starts_at, r.slot_id LIMIT $9
) s ON true
LEFT JOIN LATERAL (
    SELECT sum(x.quantity) FILTER (WHERE x.expires_at <= $8::timestamptz)::bigint AS lapsed, min(x.expires_at) FILTER (WHERE x.expires_at > $8::timestamptz) AS earliest
    FROM build.holds x WHERE x.slot_id = s.slot_id AND s.held > 0
) h ON true
WHERE b.build = $1
ORDER BY s.starts_at, s.slot_id
