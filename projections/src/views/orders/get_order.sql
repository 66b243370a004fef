-- $1 build, $2 order.
SELECT b.position, b.state = 'live',
    (SELECT q.aggregate_id FROM views.quarantine q WHERE q.build = $1 AND q.aggregate_type = 'Order' AND q.aggregate_id = $2),
    o.order_id, o.customer, o.accepted_position, o.placed_at, o.lines, o.total_minor, o.currency, o.status, o.settled_at, o.hold_expires_at,
    o.confirmed_at, o.expired_at, o.cancelled_at, o.cancel_reason, o.failures, o.personal
FROM views.builds b LEFT JOIN build.orders o ON o.order_id = $2
WHERE b.build = $1
