-- T10 for what waits, T11 for what is out.
UPDATE callboard_tasks
SET state = CASE WHEN state IN ('queued', 'blocked') THEN 'cancelled' ELSE state END,
    finished_at = CASE WHEN state IN ('queued', 'blocked') THEN clock_timestamp() END,
    cancel_requested_at = coalesce(cancel_requested_at, clock_timestamp())
WHERE id = $1 AND finished_at IS NULL
RETURNING state, has_children
