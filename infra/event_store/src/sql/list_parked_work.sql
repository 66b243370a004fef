SELECT p.key, p.position, p.code, p.message, p.attempts, p.parked_at
FROM parked_work p WHERE p.process = $1 AND p.key > $2 ORDER BY p.key LIMIT $3
