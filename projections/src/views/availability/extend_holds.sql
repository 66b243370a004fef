UPDATE build.holds h SET expires_at = u.expires_at
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) u (slot_id, hold_id, expires_at)
WHERE h.slot_id = u.slot_id AND h.hold_id = u.hold_id
