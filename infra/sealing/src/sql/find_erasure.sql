SELECT key_id, subject, erased_at FROM keys.erasures WHERE requested_by = $1 AND request_id = $2
