-- $1: what the names of a build's tables begin with. By name: each table's own name, its name for SQL, and three statements. The first two give a page
-- of its rows in the order of their key, each as JSON with its columns in their order, and the key to go on behind: the first page ($1 rows at most),
-- and the one behind a key ($2). The third copies the table out in the same order.
SELECT substr(c.relname::text, length($1::text) + 1), format('views.%I', c.relname),
    format('SELECT row_to_json(t)::text, ARRAY[%1$s]::text[] FROM views.%2$I t ORDER BY %1$s LIMIT $1', k.columns, c.relname),
    format('SELECT row_to_json(t)::text, ARRAY[%1$s]::text[] FROM views.%2$I t WHERE (%1$s) > (%3$s) ORDER BY %1$s LIMIT $1', k.columns, c.relname, k.behind),
    format('COPY (SELECT t.* FROM views.%2$I t ORDER BY %1$s) TO STDOUT (FORMAT csv, HEADER)', k.columns, c.relname)
FROM pg_class c
JOIN LATERAL (
    SELECT string_agg(format('t.%I', a.attname), ', ' ORDER BY i.place) AS columns,
        string_agg(format('($2::text[])[%s]::%s', i.place, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY i.place) AS behind
    FROM (SELECT indkey FROM pg_index WHERE indrelid = c.oid AND indisprimary) p
    CROSS JOIN LATERAL unnest(p.indkey::smallint[]) WITH ORDINALITY i (attnum, place)
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.attnum
) k ON true
WHERE c.relnamespace = 'views'::regnamespace AND c.relkind = 'r' AND starts_with(c.relname::text, $1::text)
ORDER BY c.relname::text COLLATE "C"
