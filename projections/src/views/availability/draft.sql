INSERT INTO build.products (product_id, sale_mode, time_zone)
SELECT u.product_id, u.sale_mode, u.time_zone FROM unnest($1::text[], $2::text[], $3::text[]) u (product_id, sale_mode, time_zone)
ON CONFLICT (product_id) DO UPDATE SET sale_mode = excluded.sale_mode, time_zone = excluded.time_zone
