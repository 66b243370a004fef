INSERT INTO views.quarantine (build, aggregate_type, aggregate_id, position, sequence, code, error)
SELECT $1, u.aggregate_type, u.aggregate_id, u.position, u.sequence, u.code, u.error
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[])
    u (aggregate_type, aggregate_id, position, sequence, code, error)
ON CONFLICT (build, aggregate_type, aggregate_id) DO NOTHING
