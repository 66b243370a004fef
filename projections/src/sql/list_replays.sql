-- Those that are kept, and those that were begun and not finished.
SELECT b.build, b.view, b.version, b.as_of, b.position, b.state = 'replayed', b.created_at
FROM views.builds b WHERE b.state IN ('replaying', 'replayed') ORDER BY b.build
