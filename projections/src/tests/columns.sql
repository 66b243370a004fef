-- Every column of every table of a build: table, column, type, whether it has a default, whether it is of the primary key, whether it compares by bytes.
SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod), a.atthasdef OR a.attidentity <> '',
    EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND a.attnum = ANY (i.indkey::smallint[])),
    a.atttypid = 'text'::regtype AND a.attcollation = '"C"'::regcollation
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'views'::regnamespace AND c.relkind = 'r' AND c.relname NOT IN ('builds', 'quarantine') AND a.attnum > 0 AND NOT a.attisdropped
