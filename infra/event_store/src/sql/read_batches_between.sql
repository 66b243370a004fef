SELECT b.first_position, b.event_count, b.recorded_at, b.chained_hash
FROM batches b WHERE b.first_position > $1 AND b.first_position <= $2 ORDER BY b.first_position
