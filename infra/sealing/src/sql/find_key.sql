-- Nothing but nulls and false when nobody knows the key.
SELECT k.key_id, k.subject, k.wrapped, k.master_id, EXISTS (SELECT FROM keys.erasures e WHERE e.key_id = $1)
FROM (VALUES (1)) one LEFT JOIN keys.subject_keys k ON k.key_id = $1
