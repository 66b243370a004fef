DELETE FROM build.holds h USING unnest($1::text[], $2::text[]) u (slot_id, hold_id)
WHERE h.slot_id = u.slot_id AND h.hold_id = u.hold_id
