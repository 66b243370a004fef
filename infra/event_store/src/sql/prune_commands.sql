-- $1 days to keep, $2 rows at most. Short, so that it holds up nobody.
DELETE FROM commands WHERE ctid = ANY (ARRAY(
    SELECT k.ctid FROM commands k WHERE k.recorded_at < now() - make_interval(days => $1) LIMIT $2::bigint
))
