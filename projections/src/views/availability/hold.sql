INSERT INTO build.holds (slot_id, hold_id, quantity, expires_at)
SELECT u.slot_id, u.hold_id, u.quantity, u.expires_at
FROM unnest($1::text[], $2::text[], $3::integer[], $4::timestamptz[]) u (slot_id, hold_id, quantity, expires_at)
