-- By primary keys. A task that nobody holds has no session.
SELECT t.state, t.attempt, t.state = 'running' AS started, w.http_address, w.secret_hash AS key
FROM callboard_tasks t
LEFT JOIN callboard_workers w ON w.session_id = t.session_id AND t.state IN ('assigned', 'running')
WHERE t.id = $1
