SELECT CASE WHEN cancel_requested_at IS NOT NULL THEN 'cancelling' ELSE state END AS state, count(*)::bigint AS count
FROM callboard_tasks WHERE state IN ('assigned', 'running') GROUP BY 1
