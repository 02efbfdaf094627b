-- Everything of it that has not ended, in the order in which everybody locks. $1 workflow
UPDATE callboard_tasks t
SET state = CASE WHEN t.state IN ('queued', 'blocked') THEN 'cancelled' ELSE t.state END,
    finished_at = CASE WHEN t.state IN ('queued', 'blocked') THEN clock_timestamp() END,
    cancel_requested_at = coalesce(t.cancel_requested_at, clock_timestamp())
FROM (SELECT id FROM callboard_tasks WHERE workflow_id = $1 AND workflow_id IS NOT NULL AND finished_at IS NULL
      ORDER BY id FOR UPDATE) x
WHERE t.id = x.id AND t.finished_at IS NULL
RETURNING t.state
