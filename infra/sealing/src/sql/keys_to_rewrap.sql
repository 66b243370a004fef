SELECT key_id, subject, wrapped, master_id FROM keys.subject_keys WHERE master_id = $1 ORDER BY key_id LIMIT $2 FOR UPDATE
