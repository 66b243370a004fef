SELECT key_id, subject, wrapped, master_id FROM keys.subject_keys WHERE subject = $1
