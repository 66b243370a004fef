INSERT INTO build.draws (product_id, option_id, pool_id)
SELECT u.product_id, u.option_id, u.pool_id FROM unnest($1::text[], $2::text[], $3::text[]) u (product_id, option_id, pool_id)
ON CONFLICT (product_id, option_id, pool_id) DO NOTHING
