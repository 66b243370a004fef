SELECT p.key, p.position, p.code, p.message, p.attempts, p.parked_at
FROM parked_work p WHERE p.process = $1 AND (p.position, p.key) > ($2, $3) ORDER BY p.position, p.key LIMIT $4
