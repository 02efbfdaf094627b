-- Keys with tasks that wait, in order, one step along the index each; and what counts for each of them.
-- The order asked for is that of callboard_tasks_keyed and of no other index.
-- $1 lanes, $2 after this key, $3 up to this one (NULL: all), $4 how many, $5 queue, $6 period of the keys' rate (s)
WITH RECURSIVE step AS (
    SELECT callboard_next_key($1::int[], $2) AS key, 1 AS n
    UNION ALL
    SELECT callboard_next_key($1::int[], step.key), step.n + 1 FROM step
    WHERE step.key IS NOT NULL AND step.n < $4 AND ($3::text IS NULL OR step.key <= $3::text)
), found AS MATERIALIZED (
    SELECT key, n FROM step WHERE key IS NOT NULL AND ($3::text IS NULL OR key <= $3::text)
)
SELECT f.key,
       EXISTS (SELECT FROM unnest($1::int[]) AS lane (id) CROSS JOIN generate_series(1, 4) AS level (priority)
               CROSS JOIN LATERAL (SELECT FROM callboard_tasks t
                                   WHERE t.lane_id = lane.id AND t.state = 'queued' AND t.concurrency_key IS NOT NULL
                                     AND (t.concurrency_key, t.priority) >= (f.key, level.priority::smallint)
                                     AND (t.concurrency_key, t.priority, t.run_at)
                                         <= (f.key, level.priority::smallint, statement_timestamp())
                                   ORDER BY t.concurrency_key, t.priority, t.run_at LIMIT 1) x) AS due,
       (SELECT coalesce(sum(t.weight), 0)::int FROM callboard_tasks t
        WHERE t.counted = $5 AND t.concurrency_key = f.key AND t.state IN ('assigned', 'running')) AS out,
       coalesce(r.count, 0)::int AS started,
       extract(epoch FROM r.until + make_interval(secs => $6::float8) - clock_timestamp())::float8 AS refill
FROM found f LEFT JOIN LATERAL (
    SELECT sum(r.count) AS count, min(r.until) AS until FROM callboard_rates r
    WHERE r.queue = $5 AND r.key = f.key AND r.until > clock_timestamp() - make_interval(secs => $6::float8)
) r ON true
ORDER BY f.n
