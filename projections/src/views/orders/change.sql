-- What is null has not changed.
UPDATE build.orders o
SET status = u.status, settled_at = coalesce(u.settled_at, o.settled_at), hold_expires_at = coalesce(u.hold_expires_at, o.hold_expires_at),
    confirmed_at = coalesce(u.confirmed_at, o.confirmed_at), expired_at = coalesce(u.expired_at, o.expired_at),
    cancelled_at = coalesce(u.cancelled_at, o.cancelled_at), cancel_reason = coalesce(u.cancel_reason, o.cancel_reason),
    failures = coalesce(u.failures, o.failures)
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::text[], $9::text[])
    u (order_id, status, settled_at, hold_expires_at, confirmed_at, expired_at, cancelled_at, cancel_reason, failures)
WHERE o.order_id = u.order_id
