-- $1 days to keep, $2 rows at most, of ids that bear no time of their own. Short, so that it holds up nobody.
DELETE FROM commands WHERE ctid = ANY (ARRAY(
    SELECT k.ctid FROM commands k
    WHERE get_byte(uuid_send(k.command_id), 6) >> 4 <> 7 AND k.recorded_at < now() - make_interval(days => $1)
    ORDER BY k.recorded_at LIMIT $2::bigint
))
