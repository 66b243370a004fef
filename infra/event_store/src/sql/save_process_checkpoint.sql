INSERT INTO process_checkpoints (process, position, epoch) VALUES ($1, $2, $3)
ON CONFLICT (process) DO UPDATE SET position = excluded.position, epoch = excluded.epoch
WHERE process_checkpoints.epoch <= excluded.epoch
