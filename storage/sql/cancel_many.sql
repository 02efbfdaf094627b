-- As cancel.sql, of many. $1 tasks
WITH locked AS MATERIALIZED (
    SELECT t.id FROM callboard_tasks t WHERE t.id = ANY ($1::bigint[]) AND t.finished_at IS NULL ORDER BY t.id FOR UPDATE
), done AS (
    UPDATE callboard_tasks t
    SET state = CASE WHEN t.state IN ('queued', 'blocked') THEN 'cancelled' ELSE t.state END,
        finished_at = CASE WHEN t.state IN ('queued', 'blocked') THEN clock_timestamp() END,
        cancel_requested_at = coalesce(t.cancel_requested_at, clock_timestamp())
    FROM locked WHERE t.id = locked.id AND t.finished_at IS NULL
    RETURNING t.state
)
SELECT count(*) FILTER (WHERE state = 'cancelled')::int AS cancelled, count(*) FILTER (WHERE state <> 'cancelled')::int AS cancelling
FROM done
