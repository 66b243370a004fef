WITH taken AS (UPDATE plain_slots SET remaining = remaining - 1 WHERE id = $3 AND remaining > 0 RETURNING id),
placed AS (INSERT INTO plain_orders (id, customer, state) SELECT $1, $2, 'HELD' FROM taken)
INSERT INTO plain_lines (order_id, line, slot, quantity) SELECT $1, 0, id, 1 FROM taken
