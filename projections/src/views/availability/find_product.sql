-- $1 build, $2 product, $3 option, or empty for any. The last column: whether the product has the option.
SELECT b.position, b.state = 'live',
    (SELECT q.aggregate_id FROM views.quarantine q WHERE q.build = $1 AND q.aggregate_type = 'Product' AND q.aggregate_id = $2),
    p.product_id, p.sale_mode, p.time_zone,
    $3::text = '' OR EXISTS (SELECT FROM build.draws d WHERE d.product_id = $2 AND d.option_id = $3)
FROM views.builds b LEFT JOIN build.products p ON p.product_id = $2
WHERE b.build = $1
