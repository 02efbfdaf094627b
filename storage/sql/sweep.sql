-- T6, T8, T9: what ended sessions held; and, when the caller's quiet period is over ($4 is the lease in seconds, else
-- NULL), what a clock decides: leases that ran out, assignments that nobody acknowledged, attempts 10 s past their time.
-- $1 limit, $2 coordinator, $3 tries that hold when nobody says otherwise, $4 lease, $5 channel of due tasks,
-- $6 claims that may be with their workers: an exclusive task of these is left alone, it may have begun,
-- $7 database time after which no clock decides: a server that froze, or whose clock jumped, would find everybody late,
-- $8 sessions whose assignments may be taken back: what one that has just resumed holds is not known here yet.
-- What a session lost is taken from it in the next statement: this one's snapshot still shows it live.
-- Assignments of live sessions are taken back by their own coordinator only: it tells the worker, and keeps the books.
WITH clamped AS (  -- a lease that lies impossibly far ahead: the clock stepped back
    UPDATE callboard_workers w SET lease_until = clock_timestamp() + make_interval(secs => $4)
    FROM (SELECT session_id FROM callboard_workers
          WHERE state IN ('live', 'draining') AND lease_until > clock_timestamp() + make_interval(secs => $4::float8 + 2)
          ORDER BY session_id FOR UPDATE SKIP LOCKED) s
    WHERE w.session_id = s.session_id
), expired AS MATERIALIZED (
    SELECT session_id FROM callboard_workers
    WHERE $4 IS NOT NULL AND state IN ('live', 'draining') AND lease_until < clock_timestamp()
      AND clock_timestamp() <= coalesce(to_timestamp($7::float8), 'infinity')
    ORDER BY session_id LIMIT 100 FOR UPDATE SKIP LOCKED
), convicted AS (
    UPDATE callboard_workers w SET state = 'dead', ended_at = clock_timestamp()
    FROM expired WHERE w.session_id = expired.session_id
    RETURNING w.session_id
), lost AS MATERIALIZED (  -- a LIMIT inside: held rows are read session by session, not all of them
    SELECT t.id, 'session' AS why FROM callboard_workers w
    CROSS JOIN LATERAL (SELECT id FROM callboard_tasks
                        WHERE session_id = w.session_id AND state IN ('assigned', 'running') LIMIT $1) t
    WHERE w.state IN ('dead', 'closed') AND NOT w.swept
    LIMIT $1
), late AS MATERIALIZED (
    SELECT t.id, t.why FROM callboard_workers w
    CROSS JOIN LATERAL (SELECT id, CASE state WHEN 'assigned' THEN 'unacknowledged' ELSE 'overdue' END AS why
                        FROM callboard_tasks
                        WHERE session_id = w.session_id AND state IN ('assigned', 'running')
                          AND CASE state WHEN 'assigned' THEN ack_by < clock_timestamp() AND NOT (exclusive AND lease_key = ANY ($6::uuid[]))
                                         ELSE exec_until < clock_timestamp() - interval '10 seconds' END LIMIT $1) t
    WHERE $4 IS NOT NULL AND w.coordinator_id = $2 AND w.state IN ('live', 'draining')
      AND w.session_id = ANY ($8::bigint[])
      AND clock_timestamp() <= coalesce(to_timestamp($7::float8), 'infinity')
    LIMIT $1
), held AS MATERIALIZED (
    SELECT t.id, t.attempt, t.lease_key, t.session_id, t.assigned_at, t.started_at, x.why, t.tries, t.undelivered,
           t.cancel_requested_at IS NOT NULL AS wish, t.retry_on_crash, w.state AS session_state, w.worker,
           t.state = 'running' OR t.ack_by IS NULL AS accepted,
           coalesce(t.max_tries, h.max_tries, $3) AS max_tries, coalesce(t.backoff, h.backoff) AS backoff
    FROM (TABLE lost UNION ALL TABLE late) x
    JOIN callboard_tasks t ON t.id = x.id
    JOIN callboard_workers w ON w.session_id = t.session_id
    LEFT JOIN callboard_lanes l ON l.id = t.lane_id  -- LEFT: never from the lane to all of its tasks
    LEFT JOIN callboard_handlers h ON h.name = l.name
    WHERE (t.state IN ('assigned', 'running')) IS NOT FALSE
      AND (x.why = 'session' AND w.state IN ('dead', 'closed')
        OR x.why = 'unacknowledged' AND (t.state = 'assigned') IS NOT FALSE AND t.ack_by < clock_timestamp()
        OR x.why = 'overdue' AND t.exec_until < clock_timestamp() - interval '10 seconds')
    ORDER BY t.id FOR UPDATE OF t SKIP LOCKED
), kinds AS MATERIALIZED (
    SELECT *, CASE WHEN why = 'overdue' THEN 'timed_out'
                   WHEN why = 'session' AND session_state = 'closed' THEN 'released'
                   WHEN why = 'session' AND accepted THEN 'lost' ELSE 'undelivered' END AS kind
    FROM held
), counted AS MATERIALIZED (
    SELECT *, CASE WHEN kind = 'lost' THEN callboard_recent_crashes(id) + 1 ELSE 0 END AS crash FROM kinds
), decided AS MATERIALIZED (
    SELECT *, CASE
        WHEN kind = 'timed_out' AND tries + 1 >= max_tries THEN 'failed'
        WHEN wish THEN 'cancelled'
        WHEN kind = 'lost' AND NOT retry_on_crash THEN 'failed'
        WHEN crash >= 3 THEN 'quarantined'
        ELSE 'queued' END AS next,
      CASE WHEN kind = 'timed_out' THEN callboard_backoff(backoff, tries + 1)
           WHEN crash > 1 THEN 1
           WHEN kind = 'undelivered' AND undelivered + 1 >= 10 THEN 60 ELSE 0 END AS wait,
      CASE kind WHEN 'timed_out' THEN jsonb_build_object('type', 'TimedOut', 'message', 'the attempt did not end by its timeout', 'traceback', NULL)
                WHEN 'lost' THEN jsonb_build_object('type', 'WorkerLost', 'message', 'worker ' || worker || ' was lost while it held this attempt', 'traceback', NULL)
      END AS error
    FROM counted
), changed AS (
    UPDATE callboard_tasks t
    SET state = d.next, tries = t.tries + (d.kind = 'timed_out')::int,
        crashes = least(t.crashes + (d.kind = 'lost')::int, 30000),
        undelivered = least(t.undelivered + (d.kind = 'undelivered')::int, 30000),
        -- What went back through no fault of its own keeps its place before all that came later.
        run_at = CASE WHEN d.next <> 'queued' OR d.kind <> 'timed_out' AND d.wait <= 0 THEN t.run_at
                      ELSE clock_timestamp() + make_interval(secs => d.wait) END,
        error = coalesce(d.error, t.error),
        finished_at = CASE WHEN d.next <> 'queued' THEN clock_timestamp() END,
        started_at = CASE WHEN d.next <> 'queued' AND d.accepted THEN coalesce(t.started_at, t.assigned_at) ELSE t.started_at END,
        lease_key = CASE WHEN d.next <> 'queued' THEN t.lease_key END,
        session_id = CASE WHEN d.next <> 'queued' THEN t.session_id END,
        failed_in = CASE WHEN d.kind = 'timed_out' THEN d.session_id ELSE t.failed_in END,
        ack_by = NULL, exec_until = NULL
    FROM decided d WHERE t.id = d.id AND t.attempt = d.attempt AND (t.state IN ('assigned', 'running')) IS NOT FALSE
    RETURNING t.id, t.state, t.attempt, d.lease_key, d.session_id, d.why
), noted AS (
    INSERT INTO callboard_attempts (task_id, attempt, lease_key, outcome, session_id, assigned_at, started_at, error, evidence)
    SELECT id, attempt, lease_key, kind, session_id, assigned_at,
           CASE WHEN accepted THEN coalesce(started_at, assigned_at) END, error,
           jsonb_build_object('worker', worker, 'session_state', session_state, 'why', why)
    FROM decided
), told AS (
    SELECT pg_notify($5, '') FROM (SELECT FROM changed WHERE state = 'queued' LIMIT 1) x
)
SELECT (SELECT array_agg(session_id) FROM convicted) AS convicted,
       (SELECT count(*) FROM changed)::int AS count,
       (SELECT count(*) FROM changed WHERE state <> 'queued')::int AS final,
       array_agg(id) AS ids, array_agg(attempt) AS attempts, array_agg(lease_key) AS keys, array_agg(session_id) AS sessions,
       (SELECT count(*) FROM told) AS told
FROM changed WHERE why <> 'session'
