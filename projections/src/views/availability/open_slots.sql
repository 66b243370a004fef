INSERT INTO build.slots (slot_id, pool_id, starts_at, ends_at, capacity, held, confirmed, status)
SELECT u.slot_id, u.pool_id, u.starts_at, u.ends_at, u.capacity, u.held, u.confirmed, u.status
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::integer[], $6::integer[], $7::integer[], $8::text[])
    u (slot_id, pool_id, starts_at, ends_at, capacity, held, confirmed, status)
ON CONFLICT (slot_id) DO UPDATE SET pool_id = excluded.pool_id, starts_at = excluded.starts_at, ends_at = excluded.ends_at, capacity = excluded.capacity,
    held = excluded.held, confirmed = excluded.confirmed, status = excluded.status
