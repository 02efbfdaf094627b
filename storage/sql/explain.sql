-- What is known of one task beside its row; nothing is counted further than is told. $1 task, $2 tasks counted at most,
-- $3 ageing (s a priority)
WITH task AS MATERIALIZED (
    SELECT t.*, l.name, l.requirements, callboard_queue_of(l) AS queue
    FROM callboard_tasks t JOIN callboard_lanes l ON l.id = t.lane_id WHERE t.id = $1
), queue AS MATERIALIZED (
    SELECT q.* FROM callboard_queues q JOIN task ON q.name = task.queue
)
SELECT task.parents_left, task.ack_by, own.coordinator_id AS coordinator, own.lease_until,
    (SELECT json_agg(p) FROM (
        SELECT p.id, l.name, p.state FROM callboard_dependencies d JOIN callboard_tasks p ON p.id = d.parent_id
        JOIN callboard_lanes l ON l.id = p.lane_id
        WHERE task.state = 'blocked' AND d.child_id = task.id AND NOT d.settled AND p.finished_at IS NULL ORDER BY p.id LIMIT 10) p)::text AS parents,
    (SELECT count(*) FROM callboard_coordinators c WHERE c.seen_until > clock_timestamp())::int AS coordinators,
    (SELECT row_to_json(q) FROM queue q)::text AS queue,
    (SELECT row_to_json(p) FROM callboard_paused_names p WHERE p.name = task.name)::text AS paused_name,
    (SELECT json_build_object('used', coalesce(sum(c.weight), 0), 'tasks', (array_agg(c.id ORDER BY c.id))[1:11])
     FROM callboard_tasks c WHERE c.counted = task.queue AND c.state IN ('assigned', 'running'))::text AS out,
    (SELECT json_build_object('used', coalesce(sum(c.weight), 0), 'tasks', (array_agg(c.id ORDER BY c.id))[1:11])
     FROM callboard_tasks c WHERE c.counted = task.queue AND c.concurrency_key = task.concurrency_key AND c.state IN ('assigned', 'running'))::text AS key_out,
    (SELECT json_build_object('used', coalesce(sum(r.count), 0), 'refill', min(r.until) + make_interval(secs => q.rate_period))
     FROM queue q JOIN callboard_rates r ON r.queue = q.name AND r.key = '' AND r.until > clock_timestamp() - make_interval(secs => q.rate_period)
     GROUP BY q.rate_period)::text AS rate,
    (SELECT json_build_object('used', coalesce(sum(r.count), 0), 'refill', min(r.until) + make_interval(secs => q.key_rate_period))
     FROM queue q JOIN callboard_rates r ON r.queue = q.name AND r.key = task.concurrency_key
          AND r.until > clock_timestamp() - make_interval(secs => q.key_rate_period)
     GROUP BY q.key_rate_period)::text AS key_rate,
    (SELECT json_agg(w) FROM (
        SELECT w.worker AS id, task.name = ANY (w.handlers) AS knows, w.queues = '{}' OR task.queue = ANY (w.queues) AS listens,
               w.labels @> task.requirements AS labelled, w.paused, w.drain_requested OR w.state = 'draining' AS draining, w.slots,
               (SELECT count(*) FROM (SELECT FROM callboard_tasks h WHERE h.session_id = w.session_id AND h.state IN ('assigned', 'running')
                                      LIMIT w.slots) h) AS held
        FROM callboard_workers w WHERE w.state IN ('live', 'draining') AND w.lease_until > clock_timestamp()
        ORDER BY w.session_id LIMIT 1000) w)::text AS workers,
    (SELECT w.worker FROM callboard_workers w WHERE w.session_id = task.failed_in) AS failed_in,
    (SELECT w.worker FROM callboard_workers w
     WHERE task.affinity_key IS NOT NULL AND w.session_id = callboard_preferred(task.affinity_key, callboard_serving(task.lane_id))) AS preferred,
    (SELECT count(*) FROM (
        SELECT FROM callboard_lanes l CROSS JOIN generate_series(1, 4) AS level (priority) CROSS JOIN LATERAL (
            SELECT FROM callboard_tasks b
            WHERE task.state = 'queued' AND b.lane_id = l.id AND b.priority = level.priority::smallint AND b.state = 'queued'
              AND b.run_at <= least(statement_timestamp(), task.run_at + make_interval(secs => (task.priority - level.priority) * $3::float8))
              AND (b.run_at + make_interval(secs => b.priority * $3::float8), b.priority, b.id)
                  < (task.run_at + make_interval(secs => task.priority * $3::float8), task.priority, task.id)
              AND (b.expires_at IS NULL OR b.expires_at > statement_timestamp())
            LIMIT $2) b
        WHERE callboard_queue_of(l) = task.queue
        LIMIT $2) ahead)::int AS ahead
FROM task LEFT JOIN callboard_workers own ON own.session_id = task.session_id
