-- $1 command, $2 rows at most: the same id may be used in the scope of several callers. By the first column of the primary key. What was refused left no
-- event, and its position is that of somebody else's.
SELECT k.position FROM commands k WHERE k.command_id = $1 AND k.refusal IS NULL ORDER BY k.position LIMIT $2
