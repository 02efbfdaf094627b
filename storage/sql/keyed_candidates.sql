-- Due tasks of each key, in their order, which is that of callboard_tasks_keyed and of no other index.
-- $1 lanes, $2 keys, $3 how many of each, $4 ageing (s a priority)
WITH lane AS MATERIALIZED (
    SELECT u.id, callboard_serving(u.id) AS serving FROM unnest($1::int[]) AS u (id)
)
SELECT c.id, c.lane, c.rank, c.weight, k.key,
       CASE WHEN c.affinity_key IS NOT NULL THEN callboard_preferred(c.affinity_key, c.serving) END AS preferred,
       c.affinity_key IS NOT NULL AND c.run_at > statement_timestamp() - interval '1 second' AS patient,
       CASE WHEN c.run_at >= statement_timestamp() - interval '10 seconds' AND c.failed_in <> ANY (c.serving) THEN c.failed_in END AS shunned
FROM unnest($2::text[]) WITH ORDINALITY AS k (key, n)
CROSS JOIN LATERAL (
    SELECT p.*, lane.id AS lane, lane.serving, extract(epoch FROM p.run_at)::float8 + p.priority * $4::float8 AS rank
    FROM lane CROSS JOIN generate_series(1, 4) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT t.id, t.priority, t.run_at, t.weight, t.affinity_key, t.failed_in FROM callboard_tasks t
        WHERE t.lane_id = lane.id AND t.state = 'queued' AND t.concurrency_key IS NOT NULL
          AND (t.concurrency_key, t.priority) >= (k.key, level.priority::smallint)
          AND (t.concurrency_key, t.priority, t.run_at) <= (k.key, level.priority::smallint, statement_timestamp())
          AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
        ORDER BY t.concurrency_key, t.priority, t.run_at, t.id LIMIT $3::int
    ) p
    ORDER BY rank, p.priority, p.id LIMIT $3::int
) c
ORDER BY k.n, c.rank, c.priority, c.id
