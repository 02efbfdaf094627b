SELECT t.id, l.name, coalesce(l.queue, h.queue, 'default') AS queue, t.state, t.args::text AS args, t.priority, t.attempt,
       t.tries, coalesce(t.max_tries, h.max_tries, 4) AS max_tries, t.crashes, t.snoozes, t.undelivered, t.run_at,
       t.created_at, t.assigned_at, t.started_at, t.finished_at, coalesce(t.timeout, h.timeout) AS timeout, t.expires_at,
       t.exclusive, t.retry_on_crash, w.worker,
       CASE WHEN t.state IN ('assigned', 'running') THEN w.http_address END AS worker_http,
       t.result::text AS result, t.error::text AS error, t.progress::text AS progress, t.tags, t.metadata::text AS metadata,
       t.retry_of, t.submitted_by, t.cancel_requested_at, s.name AS schedule, l.requirements::text AS requirements,
       t.concurrency_key, t.weight, t.affinity_key, t.unique_key, t.workflow_id AS workflow,
       CASE WHEN t.parents > 0 THEN ARRAY (SELECT d.parent_id FROM callboard_dependencies d WHERE d.child_id = t.id ORDER BY 1)
            ELSE '{}' END AS depends_on,
       clock_timestamp() AS now
FROM callboard_tasks t
JOIN callboard_lanes l ON l.id = t.lane_id
LEFT JOIN callboard_handlers h ON h.name = l.name
LEFT JOIN callboard_workers w ON w.session_id = t.session_id
LEFT JOIN callboard_schedules s ON s.id = t.schedule_id
