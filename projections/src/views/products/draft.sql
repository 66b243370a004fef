INSERT INTO build.products (product_id, title, sale_mode, time_zone, currency, hold_seconds, cut_off_seconds, status, suspension_reason, created_at, changed_at)
SELECT u.product_id, u.title, u.sale_mode, u.time_zone, u.currency, u.hold_seconds, u.cut_off_seconds, u.status, u.reason, u.created_at, u.changed_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::integer[], $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[])
    u (product_id, title, sale_mode, time_zone, currency, hold_seconds, cut_off_seconds, status, reason, created_at, changed_at)
ON CONFLICT (product_id) DO UPDATE SET title = excluded.title, sale_mode = excluded.sale_mode, time_zone = excluded.time_zone, currency = excluded.currency,
    hold_seconds = excluded.hold_seconds, cut_off_seconds = excluded.cut_off_seconds, status = excluded.status,
    suspension_reason = excluded.suspension_reason, created_at = excluded.created_at, changed_at = excluded.changed_at
