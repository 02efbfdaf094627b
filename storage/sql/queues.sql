-- Queues as they are shown. $1 tasks that are counted at most, $2 this one alone (NULL: all that have settings or tasks)
WITH lane AS MATERIALIZED (
    SELECT l.id, callboard_queue_of(l) AS queue FROM callboard_lanes l
), waiting AS (
    SELECT lane.queue, count(*)::bigint AS depth, count(*) FILTER (WHERE t.run_at <= statement_timestamp())::bigint AS due,
           min(t.run_at) FILTER (WHERE t.run_at <= statement_timestamp()) AS oldest
    FROM (SELECT lane_id, run_at FROM callboard_tasks WHERE state = 'queued'
          AND ($2::text IS NULL OR lane_id IN (SELECT id FROM lane WHERE lane.queue = $2)) LIMIT $1) t JOIN lane ON lane.id = t.lane_id
    GROUP BY lane.queue
), out AS (
    SELECT lane.queue, count(*)::bigint AS running
    FROM (SELECT lane_id FROM callboard_tasks WHERE state IN ('assigned', 'running') LIMIT $1) t JOIN lane ON lane.id = t.lane_id
    GROUP BY lane.queue
), name AS (
    SELECT $2::text AS name WHERE $2 IS NOT NULL
    UNION SELECT x.name FROM (SELECT queue FROM waiting UNION SELECT queue FROM out UNION SELECT q.name FROM callboard_queues q) x (name)
          WHERE $2 IS NULL
)
SELECT name.name, q.concurrency, q.concurrency_per_key, q.rate_limit, q.rate_period, q.key_rate_limit, q.key_rate_period,
       coalesce(q.paused, false) AS paused, q.paused_reason, q.paused_at, q.keep_succeeded, q.keep_unsuccessful,
       coalesce(w.depth, 0) AS depth, coalesce(w.due, 0) AS due, coalesce(o.running, 0) AS running,
       extract(epoch FROM clock_timestamp() - w.oldest)::float8 AS oldest
FROM name
LEFT JOIN callboard_queues q ON q.name = name.name
LEFT JOIN waiting w ON w.queue = name.name
LEFT JOIN out o ON o.queue = name.name
ORDER BY name.name
