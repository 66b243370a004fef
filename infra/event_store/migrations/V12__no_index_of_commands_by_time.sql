-- A block range index served until the first row had gone: space that is free again takes new rows, every range then holds an old and a new one, and each
-- look reads the whole table. It goes in a transaction of its own, and not behind whoever reads the table for long, as a backup does: all appends would
-- stand behind this. Start again when that is over.
SET LOCAL lock_timeout = '10s';
DROP INDEX commands_recorded_at;
