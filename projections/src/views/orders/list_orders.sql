-- $1 build, $2 customer, $3 place in line of the last order before, $4 rows at most. The third column: whether the row's order is held back.
SELECT b.position, b.state = 'live',
    (SELECT q.aggregate_id FROM views.quarantine q WHERE q.build = $1 AND q.aggregate_type = 'Order' AND q.aggregate_id = o.order_id),
    o.order_id, o.customer, o.accepted_position, o.placed_at, o.lines, o.total_minor, o.currency, o.status, o.settled_at, o.hold_expires_at,
    o.confirmed_at, o.expired_at, o.cancelled_at, o.cancel_reason, o.failures, o.personal
FROM views.builds b LEFT JOIN LATERAL (
    SELECT * FROM build.orders r WHERE r.customer = $2 AND r.accepted_position < $3 ORDER BY r.accepted_position DESC LIMIT $4
) o ON true
WHERE b.build = $1
ORDER BY o.accepted_position DESC
