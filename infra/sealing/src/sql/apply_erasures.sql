WITH listed AS (
    SELECT u.* FROM unnest($1::uuid[], $2::bytea[], $3::timestamptz[], $4::text[], $5::uuid[]) u (key_id, subject, erased_at, requested_by, request_id)
), noted AS (
    INSERT INTO keys.erasures (key_id, subject, erased_at, requested_by, request_id)
    SELECT key_id, subject, erased_at, requested_by, request_id FROM listed ON CONFLICT DO NOTHING
), gone AS (
    DELETE FROM keys.subject_keys k USING listed l WHERE k.key_id = l.key_id RETURNING k.key_id
)
SELECT count(*) FROM gone
