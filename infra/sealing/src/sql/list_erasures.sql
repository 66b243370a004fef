SELECT number, key_id, subject, erased_at, requested_by, request_id FROM keys.erasures WHERE number > $1 ORDER BY number LIMIT $2
