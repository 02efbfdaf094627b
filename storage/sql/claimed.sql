-- What an earlier claim got. Its transaction is over: whoever runs this took the claim's advisory lock before.
-- $1 lease key, $2 sessions, $3 ageing (s a priority). In the order in which the claim handed out.
WITH mine AS MATERIALIZED (
    SELECT array_position($2::bigint[], t.session_id) - 1 AS slot, t.id, t.attempt, t.lane_id, t.priority, t.run_at, t.weight,
           ceil(1000 * least(coalesce(t.timeout, h.timeout, 0), 2000000))::int AS timeout,
           t.exclusive::int + CASE WHEN t.crashes >= 2 THEN 2 ELSE 0 END AS flags,
           convert_to(t.args::text, 'UTF8') AS args
    FROM unnest($2::bigint[]) AS s (session_id)
    JOIN callboard_tasks t ON t.session_id = s.session_id AND t.state IN ('assigned', 'running') AND t.lease_key = $1
    LEFT JOIN callboard_lanes l ON l.id = t.lane_id
    LEFT JOIN callboard_handlers h ON h.name = l.name
)
SELECT slot, array_agg(id) AS ids, array_agg(attempt) AS attempts, array_agg(lane_id) AS lanes,
       array_agg(timeout) AS timeouts, array_agg(flags) AS flags, array_agg(length(args)) AS sizes,
       string_agg(args, ''::bytea) AS payloads, array_agg(weight::int) AS weights, 0 AS seen
FROM (SELECT * FROM mine ORDER BY slot, run_at + make_interval(secs => priority * $3), priority, id) AS ordered
GROUP BY slot
