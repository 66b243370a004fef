SELECT e.recorded_at FROM log_events e WHERE e.position = $1
