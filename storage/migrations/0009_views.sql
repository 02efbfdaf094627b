-- oldest: 0001
-- For reading: states as they are shown, names instead of numbers. Columns are only ever added.

CREATE VIEW callboard_tasks_view AS
SELECT t.id, l.name, coalesce(l.queue, h.queue, 'default') AS queue,
       CASE WHEN t.state IN ('assigned', 'running') AND t.cancel_requested_at IS NOT NULL THEN 'cancelling'
            WHEN t.state = 'queued' AND t.run_at > clock_timestamp()
                THEN CASE WHEN t.tries + t.crashes + t.snoozes > 0 THEN 'retrying' ELSE 'scheduled' END
            ELSE t.state END AS state,
       t.args, t.priority, t.attempt, t.tries, coalesce(t.max_tries, h.max_tries, 4) AS max_tries, t.crashes,
       t.run_at, t.created_at, t.assigned_at, t.started_at, t.finished_at, t.expires_at,
       coalesce(t.timeout, h.timeout) AS timeout, w.worker, t.result, t.error, t.progress, t.tags, t.metadata,
       t.concurrency_key, t.affinity_key, t.unique_key, t.weight, l.requirements, t.workflow_id, s.name AS schedule,
       t.retry_of, t.submitted_by
FROM callboard_tasks t
JOIN callboard_lanes l ON l.id = t.lane_id
LEFT JOIN callboard_handlers h ON h.name = l.name
LEFT JOIN callboard_workers w ON w.session_id = t.session_id
LEFT JOIN callboard_schedules s ON s.id = t.schedule_id;

CREATE VIEW callboard_attempts_view AS
SELECT a.task_id, a.attempt, a.outcome, a.accepted, w.worker, a.assigned_at, a.started_at, a.ended_at, a.error, a.evidence
FROM callboard_attempts a LEFT JOIN callboard_workers w ON w.session_id = a.session_id;

CREATE VIEW callboard_workers_view AS
SELECT w.worker AS id, w.name,
       CASE WHEN w.state = 'closed' THEN 'closed' WHEN w.state = 'dead' OR w.lease_until < clock_timestamp() THEN 'lost'
            WHEN w.state = 'draining' OR w.drain_requested THEN 'draining' WHEN w.paused THEN 'paused' ELSE 'alive' END AS state,
       w.slots, w.queues, w.handlers, w.labels, w.version, w.http_address AS address, w.connected_at, w.last_seen, w.ended_at,
       (SELECT count(*) FROM callboard_tasks t WHERE t.session_id = w.session_id AND t.state IN ('assigned', 'running')) AS running
FROM callboard_workers w;

CREATE VIEW callboard_queues_view AS
SELECT coalesce(q.name, d.name) AS name, coalesce(d.depth, 0) AS depth, coalesce(d.due, 0) AS due, d.oldest_run_at,
       coalesce(q.paused, false) AS paused, q.paused_reason, q.concurrency, q.concurrency_per_key, q.rate_limit, q.rate_period,
       q.key_rate_limit, q.key_rate_period
FROM callboard_queues q
FULL JOIN (
    SELECT coalesce(l.queue, h.queue, 'default') AS name, count(*) AS depth,
           count(*) FILTER (WHERE t.run_at <= clock_timestamp()) AS due, min(t.run_at) AS oldest_run_at
    FROM callboard_tasks t JOIN callboard_lanes l ON l.id = t.lane_id LEFT JOIN callboard_handlers h ON h.name = l.name
    WHERE t.state = 'queued' GROUP BY 1
) d ON d.name = q.name;

CREATE VIEW callboard_schedules_view AS
SELECT s.name, s.definition->>'cron' AS cron, (s.definition->>'every')::float8 AS every, (s.definition->>'at')::timestamptz AS at,
       s.definition->>'timezone' AS timezone, s.definition->'task'->>'name' AS task, s.version, s.paused, s.paused_reason,
       s.next_slot_at, s.last_slot_at, s.created_at, s.updated_at
FROM callboard_schedules s WHERE s.deleted_at IS NULL;

CREATE VIEW callboard_slots_view AS
SELECT s.name AS schedule, l.slot_at, l.kind, l.state, l.reason, l.task_id, l.run_at, l.count, l.until, l.created_at
FROM callboard_schedule_slots l JOIN callboard_schedules s ON s.id = l.schedule_id;
