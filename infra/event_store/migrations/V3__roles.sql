-- The server's rights: it adds to the log through append_batch or by the seven columns, and can neither change nor remove what stands there.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jari_server') THEN
        CREATE ROLE jari_server NOLOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this server made it at the same moment
END $$;

CREATE SCHEMA views;
GRANT USAGE, CREATE ON SCHEMA views TO jari_server;
GRANT USAGE ON SCHEMA public TO jari_server;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO jari_server;
GRANT INSERT (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata) ON events TO jari_server;
GRANT DELETE ON commands TO jari_server;
GRANT INSERT, UPDATE, DELETE ON snapshots, leases TO jari_server;
REVOKE ALL ON FUNCTION append_batch, next_position, next_recorded_at, record_foreign_batch FROM public;
GRANT EXECUTE ON FUNCTION append_batch, next_position, next_recorded_at, lock_log_head TO jari_server;
REVOKE UPDATE, DELETE, TRUNCATE ON events, log_identity FROM CURRENT_USER;
