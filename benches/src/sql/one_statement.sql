WITH taken AS (UPDATE plain_slots SET remaining = remaining - 1 WHERE id = $1 AND remaining > 0 RETURNING id)
INSERT INTO plain_bookings (id, slot, customer) SELECT $2, id, $3 FROM taken
