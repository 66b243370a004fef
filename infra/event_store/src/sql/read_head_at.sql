-- Of the batch that covers the position, if it ends there. One row is looked at: another may be damaged.
SELECT b.chained_hash
FROM (SELECT * FROM batches WHERE first_position <= $1 ORDER BY first_position DESC LIMIT 1) b
WHERE b.first_position + b.event_count - 1 = $1 AND b.chained_hash IS NOT NULL
