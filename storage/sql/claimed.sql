-- What an earlier claim got. A plain lock: it waits for a transaction that is still open.
WITH mine AS MATERIALIZED (
    SELECT t.id, t.attempt, t.lane_id, t.session_id, t.timeout, t.exclusive, t.crashes, convert_to(t.args::text, 'UTF8') AS args
    FROM callboard_tasks t
    WHERE t.session_id = ANY ($2::bigint[]) AND t.state IN ('assigned', 'running') AND t.lease_key = $1
    FOR UPDATE
)
SELECT 0 AS seen, array_position($2::bigint[], session_id) - 1 AS place,
       array_agg(id ORDER BY id) AS ids, array_agg(attempt ORDER BY id) AS attempts, array_agg(lane_id ORDER BY id) AS lanes,
       array_agg(coalesce(timeout * 1000, -1)::int ORDER BY id) AS timeouts,
       array_agg(exclusive::int + CASE WHEN crashes >= 2 THEN 2 ELSE 0 END ORDER BY id) AS flags,
       array_agg(length(args) ORDER BY id) AS sizes, string_agg(args, ''::bytea ORDER BY id) AS payloads
FROM mine GROUP BY session_id
