-- What is null has not changed.
UPDATE build.slots s
SET capacity = coalesce(u.capacity, s.capacity), held = coalesce(u.held, s.held), confirmed = coalesce(u.confirmed, s.confirmed),
    status = coalesce(u.status, s.status)
FROM unnest($1::text[], $2::integer[], $3::integer[], $4::integer[], $5::text[]) u (slot_id, capacity, held, confirmed, status)
WHERE s.slot_id = u.slot_id
