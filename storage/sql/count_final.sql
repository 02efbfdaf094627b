-- Each through an index of its own, at most $1 rows.
SELECT 'succeeded' AS state, count(*)::bigint AS count
FROM (SELECT FROM callboard_tasks WHERE state = 'succeeded' LIMIT $1) x
UNION ALL
SELECT s.state, (SELECT count(*) FROM (SELECT FROM callboard_tasks t WHERE t.state = s.state
                 AND t.state IN ('blocked', 'failed', 'cancelled', 'expired', 'quarantined') LIMIT $1) x)::bigint
FROM unnest(ARRAY['blocked', 'failed', 'cancelled', 'expired', 'quarantined']) AS s (state)
