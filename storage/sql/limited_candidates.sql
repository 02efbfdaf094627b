-- Due tasks of lanes in their order. $1 lanes, $2 how many of each, $3 ageing (s a priority), $4 whether only ranks are wanted
WITH lane AS MATERIALIZED (
    SELECT u.id, u.most, CASE WHEN NOT $4::boolean THEN callboard_serving(u.id) END AS serving FROM unnest($1::int[], $2::int[]) AS u (id, most)
)
SELECT c.id, lane.id AS lane, c.rank, c.weight, c.concurrency_key AS key,
       CASE WHEN c.affinity_key IS NOT NULL THEN callboard_preferred(c.affinity_key, lane.serving) END AS preferred,
       c.affinity_key IS NOT NULL AND c.run_at > statement_timestamp() - interval '1 second' AS patient,
       CASE WHEN c.run_at >= statement_timestamp() - interval '10 seconds' AND c.failed_in <> ANY (lane.serving) THEN c.failed_in END AS shunned
FROM lane CROSS JOIN LATERAL (
    SELECT p.*, extract(epoch FROM p.run_at)::float8 + p.priority * $3::float8 AS rank
    FROM generate_series(1, 4) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT t.id, t.priority, t.run_at, t.weight, t.concurrency_key, t.affinity_key, t.failed_in FROM callboard_tasks t
        WHERE t.lane_id = lane.id AND t.priority = level.priority::smallint AND t.state = 'queued'
          AND t.run_at <= statement_timestamp() AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
        ORDER BY t.run_at, t.id LIMIT lane.most
    ) p
    ORDER BY rank, p.priority, p.id LIMIT lane.most
) c
ORDER BY c.rank, c.priority, c.id
