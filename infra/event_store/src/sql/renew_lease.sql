UPDATE leases SET expires_at = clock_timestamp() + $4::bigint * interval '1 millisecond'
WHERE name = $1 AND holder = $2 AND epoch = $3
