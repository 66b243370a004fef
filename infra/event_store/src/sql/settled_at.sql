-- $1 command, $2 rows at most: the same id may be used in the scope of several callers. By the first column of the primary key.
SELECT k.position FROM commands k WHERE k.command_id = $1 ORDER BY k.position LIMIT $2
