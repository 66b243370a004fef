SELECT k.command_id, k.caller, k.digest, k.position, k.refusal::text
FROM unnest($1::uuid[], $2::text[]) u (id, who)
JOIN commands k ON k.command_id = u.id AND k.caller = u.who
