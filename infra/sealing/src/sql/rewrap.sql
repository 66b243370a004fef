-- Changes only what is still there: a key that was erased meanwhile does not come back.
UPDATE keys.subject_keys k SET wrapped = u.wrapped, master_id = $3
FROM unnest($1::uuid[], $2::bytea[]) u (key_id, wrapped) WHERE k.key_id = u.key_id
