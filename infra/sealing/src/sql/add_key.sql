-- Adds nothing when the person has a key by now, or when the master key was closed. The lock holds a rotation off until this is committed, so
-- that it sees every key that the closed one wrapped.
INSERT INTO keys.subject_keys (key_id, subject, wrapped, master_id)
SELECT $1, $2, $3, m.master_id FROM keys.master_keys m WHERE m.master_id = $4 AND m.closed_at IS NULL FOR SHARE OF m
ON CONFLICT (subject) DO NOTHING
