-- $1 build, $2 product.
SELECT b.position, b.state = 'live',
    (SELECT q.aggregate_id FROM views.quarantine q WHERE q.build = $1 AND q.aggregate_type = 'Product' AND q.aggregate_id = $2),
    p.product_id, p.title, p.sale_mode, p.time_zone, p.currency, p.hold_seconds, p.cut_off_seconds, p.status, p.suspension_reason, p.created_at,
    p.changed_at, ARRAY(SELECT o.option FROM build.options o WHERE o.product_id = p.product_id ORDER BY o.option_id)
FROM views.builds b LEFT JOIN build.products p ON p.product_id = $2
WHERE b.build = $1
