DELETE FROM build.options o USING unnest($1::text[], $2::text[]) u (product_id, option_id)
WHERE o.product_id = u.product_id AND o.option_id = u.option_id
