-- Everything of it that has not ended; the caller has locked it. $1 workflow
UPDATE callboard_tasks t
SET state = CASE WHEN t.state IN ('queued', 'blocked') THEN 'cancelled' ELSE t.state END,
    finished_at = CASE WHEN t.state IN ('queued', 'blocked') THEN clock_timestamp() END,
    cancel_requested_at = coalesce(t.cancel_requested_at, clock_timestamp())
WHERE t.workflow_id = $1 AND t.workflow_id IS NOT NULL AND t.finished_at IS NULL
RETURNING t.state
