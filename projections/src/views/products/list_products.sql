-- $1 build, $2 the last id before, $3 status or null, $4 rows at most. The third column: the first product from here on that is held back.
SELECT b.position, b.state = 'live',
    (SELECT min(q.aggregate_id) FROM views.quarantine q WHERE q.build = $1 AND q.aggregate_type = 'Product' AND q.aggregate_id > $2),
    p.product_id, p.title, p.sale_mode, p.time_zone, p.currency, p.hold_seconds, p.cut_off_seconds, p.status, p.suspension_reason, p.created_at,
    p.changed_at, ARRAY(SELECT o.option FROM build.options o WHERE o.product_id = p.product_id ORDER BY o.option_id)
FROM views.builds b LEFT JOIN LATERAL (
    SELECT * FROM build.products r WHERE r.product_id > $2 AND ($3::text IS NULL OR r.status = $3) ORDER BY r.product_id LIMIT $4
) p ON true
WHERE b.build = $1
ORDER BY p.product_id
