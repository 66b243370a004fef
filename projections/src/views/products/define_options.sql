INSERT INTO build.options (product_id, option_id, option)
SELECT u.product_id, u.option_id, u.option FROM unnest($1::text[], $2::text[], $3::text[]) u (product_id, option_id, option)
ON CONFLICT (product_id, option_id) DO UPDATE SET option = excluded.option
