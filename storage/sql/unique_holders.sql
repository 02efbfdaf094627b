-- Who holds these keys now. The caller has locked the keys; the tasks are locked here, by id. $1 keys
SELECT u.key, t.id, t.state IN ('queued', 'blocked') AS waits
FROM callboard_unique_keys u JOIN callboard_tasks t ON t.id = u.task_id
WHERE u.key = ANY ($1::text[])
  AND CASE u.until WHEN 'finished' THEN t.finished_at IS NULL
                   WHEN 'started' THEN t.finished_at IS NULL AND t.attempt = 0
                   ELSE u.expires_at > clock_timestamp() END
ORDER BY t.id FOR UPDATE OF t
