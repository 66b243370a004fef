INSERT INTO build.orders (order_id, customer, accepted_position, placed_at, lines, total_minor, currency, personal, status, settled_at, hold_expires_at, confirmed_at,
    expired_at, cancelled_at, cancel_reason, failures)
SELECT u.order_id, u.customer, u.accepted_position, u.placed_at, u.lines, u.total_minor, u.currency, u.personal, u.status, u.settled_at, u.hold_expires_at, u.confirmed_at,
    u.expired_at, u.cancelled_at, u.cancel_reason, u.failures
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[], $5::text[], $6::bigint[], $7::text[], $8::text[], $9::text[], $10::timestamptz[],
    $11::timestamptz[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[], $15::text[], $16::text[])
    u (order_id, customer, accepted_position, placed_at, lines, total_minor, currency, personal, status, settled_at, hold_expires_at, confirmed_at, expired_at,
        cancelled_at, cancel_reason, failures)
