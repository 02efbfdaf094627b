-- T4, T5, T7, T9, T12, T16, T17 and refusals. $1 ids, $2 attempts, $3 lease keys, $4 kinds, $5 bodies, $6 tries that
-- hold when nobody says otherwise.
-- Kinds: 1 failed, 2 failed for good, 3 timed out, 4 cancelled, 5 crashed, 6 released, 7 snoozed, 8 refused.
WITH o AS MATERIALIZED (
    SELECT DISTINCT ON (id, attempt, key) *
    FROM unnest($1::bigint[], $2::int[], $3::uuid[], $4::int[], $5::text[]) WITH ORDINALITY AS u (id, attempt, key, kind, body, n)
    ORDER BY id, attempt, key, n
), held AS MATERIALIZED (
    SELECT o.n, o.kind, coalesce(nullif(o.body, ''), '{}')::jsonb AS body, hashtextextended(o.kind::text || o.body, 0) AS hash,
           t.id, t.attempt, t.lease_key, t.session_id, t.assigned_at, t.started_at, t.tries, t.undelivered,
           t.cancel_requested_at IS NOT NULL AS wish, t.retry_on_crash,
           coalesce(t.max_tries, h.max_tries, $6) AS max_tries, coalesce(t.backoff, h.backoff) AS backoff
    FROM o
    JOIN callboard_tasks t ON t.id = o.id AND t.attempt = o.attempt AND t.lease_key = o.key
    LEFT JOIN callboard_lanes l ON l.id = t.lane_id  -- LEFT: never from the lane to all of its tasks
    LEFT JOIN callboard_handlers h ON h.name = l.name
    WHERE (t.state IN ('assigned', 'running')) IS NOT FALSE
    ORDER BY t.id FOR UPDATE OF t
), counted AS MATERIALIZED (
    SELECT *, CASE WHEN kind = 5 THEN callboard_recent_crashes(id) + 1 ELSE 0 END AS crash,
           CASE WHEN jsonb_typeof(body) = 'object' THEN body - 'after' - 'until' - 'evidence'
                ELSE jsonb_build_object('type', 'Error', 'message', left(body::text, 2000), 'traceback', NULL) END AS error
    FROM held
), decided AS MATERIALIZED (
    SELECT *, CASE
        WHEN kind = 2 OR kind IN (1, 3) AND tries + 1 >= max_tries THEN 'failed'
        WHEN wish THEN 'cancelled'
        WHEN kind = 5 AND NOT retry_on_crash THEN 'failed'
        WHEN crash >= 3 THEN 'quarantined'
        ELSE 'queued' END AS next,
      CASE
        WHEN kind IN (1, 3) THEN coalesce((body->>'after')::float8, callboard_backoff(backoff, tries + 1))
        WHEN crash > 1 THEN 1
        WHEN kind = 7 THEN coalesce((body->>'after')::float8, extract(epoch FROM (body->>'until')::timestamptz - clock_timestamp()), 0)
        WHEN kind = 8 THEN CASE WHEN undelivered + 1 >= 10 THEN 60 ELSE 0.2 END
        ELSE 0 END AS wait
    FROM counted
), changed AS (
    UPDATE callboard_tasks t
    SET state = d.next,
        tries = t.tries + (d.kind IN (1, 2, 3))::int,
        crashes = least(t.crashes + (d.kind = 5)::int, 30000),
        undelivered = least(t.undelivered + (d.kind = 8)::int, 30000),
        snoozes = t.snoozes + (d.kind = 7)::int,
        error = CASE WHEN d.kind IN (1, 2, 3, 5) THEN d.error ELSE t.error END,
        -- What went back through no fault of its own keeps its place before all that came later.
        run_at = CASE WHEN d.next <> 'queued' OR d.kind IN (5, 6) AND d.wait <= 0 THEN t.run_at
                      ELSE clock_timestamp() + make_interval(secs => least(greatest(d.wait, 0), 1e9)) END,
        finished_at = CASE WHEN d.next <> 'queued' THEN clock_timestamp() END,
        started_at = CASE WHEN d.next <> 'queued' AND d.kind IN (1, 2, 3, 5) THEN coalesce(t.started_at, t.assigned_at) ELSE t.started_at END,
        lease_key = CASE WHEN d.next <> 'queued' THEN t.lease_key END,
        session_id = CASE WHEN d.next <> 'queued' THEN t.session_id END,
        failed_in = CASE WHEN d.kind IN (1, 2, 3, 5) THEN d.session_id ELSE t.failed_in END,
        result_hash = CASE WHEN d.next <> 'queued' THEN d.hash END,
        ack_by = NULL, exec_until = NULL
    FROM decided d WHERE t.id = d.id AND t.attempt = d.attempt
    RETURNING d.n, t.has_children AND t.finished_at IS NOT NULL AS parent, t.counted IS NOT NULL AS counted
), noted AS (
    INSERT INTO callboard_attempts (task_id, attempt, lease_key, outcome, outcome_hash, session_id, assigned_at, started_at, error, evidence)
    SELECT id, attempt, lease_key,
           (ARRAY['failed', 'failed', 'timed_out', 'cancelled', 'crashed', 'released', 'snoozed', 'refused'])[kind],
           hash, session_id, assigned_at, CASE WHEN kind IN (1, 2, 3, 5) THEN coalesce(started_at, assigned_at) ELSE started_at END,
           nullif(error, '{}'), CASE WHEN jsonb_typeof(body) = 'object' THEN body->'evidence' END
    FROM decided
)
SELECT array_agg(n::int), bool_or(parent), bool_or(counted) FROM changed
