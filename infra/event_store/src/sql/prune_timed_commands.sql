-- $1 days to keep, $2 rows at most, $3 the id of version 7 of that day: of ids that begin with their time, which is none
-- before 2024: below that are random ones. Short, so that it holds up nobody.
DELETE FROM commands WHERE ctid = ANY (ARRAY(
    SELECT k.ctid FROM commands k
    WHERE k.command_id >= '018cc251-f400-7000-8000-000000000000' AND k.command_id < $3 AND get_byte(uuid_send(k.command_id), 6) >> 4 = 7 AND k.recorded_at < now() - make_interval(days => $1)
    ORDER BY k.command_id LIMIT $2::bigint
))
