INSERT INTO parked_work (process, key, position, code, message, attempts) VALUES ($1, $2, $3, $4, $5, 1)
ON CONFLICT (process, key) DO UPDATE
SET code = excluded.code, message = excluded.message, attempts = parked_work.attempts + 1, parked_at = now()
