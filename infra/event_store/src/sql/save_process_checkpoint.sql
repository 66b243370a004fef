-- Never past the log's end: where the log has lost it, what comes there anew would never be folded.
INSERT INTO process_checkpoints (process, position, epoch)
SELECT $1, $2, $3 WHERE $2 <= coalesce((SELECT b.first_position + b.event_count - 1 FROM batches b ORDER BY b.first_position DESC LIMIT 1), 0)
ON CONFLICT (process) DO UPDATE SET position = excluded.position, epoch = excluded.epoch
WHERE process_checkpoints.epoch <= excluded.epoch
