-- As cancel.sql, of many; the caller has locked them. $1 tasks
WITH done AS (
    UPDATE callboard_tasks t
    SET state = CASE WHEN t.state IN ('queued', 'blocked') THEN 'cancelled' ELSE t.state END,
        finished_at = CASE WHEN t.state IN ('queued', 'blocked') THEN clock_timestamp() END,
        cancel_requested_at = coalesce(t.cancel_requested_at, clock_timestamp())
    WHERE t.id = ANY ($1::bigint[]) AND t.finished_at IS NULL
    RETURNING t.state
)
SELECT count(*) FILTER (WHERE state = 'cancelled')::int AS cancelled, count(*) FILTER (WHERE state <> 'cancelled')::int AS cancelling
FROM done
