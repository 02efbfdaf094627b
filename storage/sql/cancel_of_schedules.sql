-- T10 and T11 for all unfinished tasks of some schedules. $1 schedules
WITH held AS MATERIALIZED (
    SELECT id FROM callboard_tasks
    WHERE schedule_id = ANY ($1::bigint[]) AND schedule_id IS NOT NULL AND finished_at IS NULL
    ORDER BY id FOR UPDATE
)
UPDATE callboard_tasks t
SET state = CASE WHEN t.state IN ('queued', 'blocked') THEN 'cancelled' ELSE t.state END,
    finished_at = CASE WHEN t.state IN ('queued', 'blocked') THEN clock_timestamp() END,
    cancel_requested_at = coalesce(t.cancel_requested_at, clock_timestamp())
FROM held WHERE t.id = held.id
RETURNING t.state
