-- Waiting tasks whose places were taken by later ones. $1 tasks, $2 those that took their places
UPDATE callboard_tasks t
SET state = 'cancelled', finished_at = clock_timestamp(),
    error = jsonb_build_object('type', 'Replaced', 'message', format('task %s took its place', g.by), 'traceback', NULL)
FROM unnest($1::bigint[], $2::bigint[]) AS g (id, by)
WHERE t.id = g.id AND t.state IN ('queued', 'blocked')
