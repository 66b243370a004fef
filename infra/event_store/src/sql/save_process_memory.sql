INSERT INTO process_memory (process, key, state)
SELECT $1, u.key, u.state FROM unnest($2::text[], $3::text[]) u (key, state)
ON CONFLICT (process, key) DO UPDATE SET state = excluded.state
