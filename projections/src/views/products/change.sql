-- A status that is null has not changed, and with it the reason of a suspension.
UPDATE build.products p
SET status = coalesce(u.status, p.status),
    suspension_reason = CASE WHEN u.status IS NULL THEN p.suspension_reason ELSE u.reason END,
    changed_at = u.changed_at
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) u (product_id, status, reason, changed_at)
WHERE p.product_id = u.product_id
