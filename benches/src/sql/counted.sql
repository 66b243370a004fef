SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8,
       (SELECT coalesce(sum(fsyncs), 0)::bigint FROM pg_stat_io WHERE object = 'wal'),
       (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())
