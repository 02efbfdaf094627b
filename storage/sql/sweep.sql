-- T6, T8, T9: what dead or closed sessions held, what nobody acknowledged ($2), and what ran 10 s past its time.
WITH lost AS MATERIALIZED (
    SELECT t.id, 'session' AS why FROM callboard_workers w
    JOIN callboard_tasks t ON t.session_id = w.session_id AND t.state IN ('assigned', 'running')
    WHERE w.state IN ('dead', 'closed') AND w.ended_at > clock_timestamp() - interval '1 day'
    LIMIT $1
), unheard AS MATERIALIZED (
    SELECT id, 'unacknowledged' AS why FROM callboard_tasks
    WHERE $2 AND state = 'assigned' AND ack_by < clock_timestamp() AND NOT exclusive
      AND id NOT IN (SELECT id FROM lost) LIMIT $1
), overdue AS MATERIALIZED (
    SELECT id, 'overdue' AS why FROM callboard_tasks
    WHERE $2 AND state = 'running' AND exec_until < clock_timestamp() - interval '10 seconds'
      AND id NOT IN (SELECT id FROM lost) LIMIT $1
), held AS MATERIALIZED (
    SELECT t.id, t.attempt, t.state, t.lease_key, t.session_id, t.assigned_at, t.started_at, x.why, t.tries, t.undelivered,
           t.cancel_requested_at IS NOT NULL AS wish, t.retry_on_crash, coalesce(w.state, 'dead') AS session_state, w.worker,
           t.state = 'running' OR t.ack_by IS NULL AS accepted,
           CASE WHEN t.last_crash_at > clock_timestamp() - interval '72 hours' THEN t.crashes ELSE 0 END + 1 AS crash,
           coalesce(t.max_tries, h.max_tries, $3) AS max_tries, coalesce(t.backoff, h.backoff) AS backoff
    FROM (TABLE lost UNION ALL TABLE unheard UNION ALL TABLE overdue) x
    JOIN callboard_tasks t ON t.id = x.id
    JOIN callboard_lanes l ON l.id = t.lane_id
    LEFT JOIN callboard_handlers h ON h.name = l.name
    LEFT JOIN callboard_workers w ON w.session_id = t.session_id
    WHERE t.state IN ('assigned', 'running')
      AND (x.why = 'session' AND w.state IN ('dead', 'closed')
        OR x.why = 'unacknowledged' AND t.state = 'assigned' AND t.ack_by < clock_timestamp()
        OR x.why = 'overdue' AND t.exec_until < clock_timestamp() - interval '10 seconds')
    FOR UPDATE OF t SKIP LOCKED
), kinds AS MATERIALIZED (
    SELECT *, CASE WHEN why = 'overdue' THEN 'timed_out'
                   WHEN why = 'session' AND session_state = 'closed' THEN 'released'
                   WHEN why = 'session' AND accepted THEN 'lost' ELSE 'undelivered' END AS kind
    FROM held
), decided AS MATERIALIZED (
    SELECT *, CASE
        WHEN kind = 'timed_out' AND tries + 1 >= max_tries THEN 'failed'
        WHEN wish THEN 'cancelled'
        WHEN kind = 'lost' AND NOT retry_on_crash THEN 'failed'
        WHEN kind = 'lost' AND crash >= 3 THEN 'quarantined'
        ELSE 'queued' END AS next,
      CASE WHEN kind = 'timed_out' THEN callboard_backoff(backoff, tries + 1)
           WHEN kind = 'lost' AND crash > 1 THEN 1
           WHEN kind = 'undelivered' AND undelivered + 1 >= 10 THEN 60 ELSE 0 END AS wait,
      CASE kind WHEN 'timed_out' THEN jsonb_build_object('type', 'TimedOut', 'message', 'the attempt did not end by its timeout', 'traceback', NULL)
                WHEN 'lost' THEN jsonb_build_object('type', 'WorkerLost', 'message', 'worker ' || coalesce(worker, '?') || ' was lost while it held this attempt', 'traceback', NULL)
      END AS error
    FROM kinds
), changed AS (
    UPDATE callboard_tasks t
    SET state = d.next, tries = t.tries + (d.kind = 'timed_out')::int,
        crashes = CASE WHEN d.kind = 'lost' THEN d.crash ELSE t.crashes END,
        last_crash_at = CASE WHEN d.kind = 'lost' THEN clock_timestamp() ELSE t.last_crash_at END,
        undelivered = least(t.undelivered + (d.kind = 'undelivered')::int, 10000),
        run_at = CASE WHEN d.next = 'queued' THEN clock_timestamp() + make_interval(secs => d.wait) ELSE t.run_at END,
        error = coalesce(d.error, t.error),
        finished_at = CASE WHEN d.next <> 'queued' THEN clock_timestamp() END,
        lease_key = CASE WHEN d.next <> 'queued' THEN t.lease_key END,
        session_id = CASE WHEN d.next <> 'queued' THEN t.session_id END,
        ack_by = NULL, exec_until = NULL
    FROM decided d WHERE t.id = d.id AND t.attempt = d.attempt AND t.state IN ('assigned', 'running')
    RETURNING t.id, t.state
), noted AS (
    INSERT INTO callboard_attempts (task_id, attempt, lease_key, outcome, session_id, assigned_at, started_at, error, evidence)
    SELECT id, attempt, lease_key, kind, session_id, assigned_at, started_at, error,
           jsonb_build_object('worker', worker, 'session_state', session_state, 'why', why)
    FROM decided
), told AS (
    SELECT pg_notify($4, '') FROM (SELECT FROM changed WHERE state = 'queued' LIMIT 1) x
)
SELECT (SELECT count(*) FROM changed)::int AS swept, (SELECT count(*) FROM told) AS told
