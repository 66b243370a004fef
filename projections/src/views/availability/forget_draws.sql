DELETE FROM build.draws d USING unnest($1::text[], $2::text[]) u (product_id, option_id)
WHERE d.product_id = u.product_id AND d.option_id = u.option_id
