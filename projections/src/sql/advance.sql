-- Moves the checkpoint, and thereby says whether this writer may write: only from where it believes the build to stand, only while the build
-- is what the writer takes it for, only with the quarantine that the writer knows, and only if no later owner has written.
UPDATE views.builds SET position = $3, epoch = $4, quarantine_changes = quarantine_changes + $7
WHERE build = $1 AND position = $2 AND epoch <= $4 AND state = $5 AND quarantine_changes = $6
