-- T1. $1 lanes, $2 how many, $3 sessions, $4 epochs, $5 turns (index into sessions), $6 lease key, $7 ack window, $8 margin
-- Candidates are read through callboard_tasks_due without locks, so that only what is taken is locked.
WITH candidate AS MATERIALIZED (
    SELECT c.id
    FROM unnest($1::int[]) AS lane (id)
    CROSS JOIN generate_series(1, 4) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT t.id, t.priority, t.run_at FROM callboard_tasks t
        WHERE t.lane_id = lane.id AND t.priority = level.priority::smallint AND t.state = 'queued'
          AND t.run_at <= statement_timestamp()
          AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
        ORDER BY t.run_at, t.id LIMIT $2
    ) c
    ORDER BY c.priority, c.run_at, c.id
    LIMIT $2
), locked AS MATERIALIZED (
    SELECT t.id, t.priority, t.run_at FROM callboard_tasks t
    WHERE t.id = ANY (ARRAY (SELECT id FROM candidate)) AND t.state = 'queued'
    FOR UPDATE SKIP LOCKED
), live AS MATERIALIZED (
    SELECT s.place - 1 AS place FROM unnest($3::bigint[], $4::int[]) WITH ORDINALITY AS s (session_id, epoch, place)
    JOIN callboard_workers w ON w.session_id = s.session_id AND w.epoch = s.epoch
    WHERE w.state = 'live' AND NOT w.paused AND NOT w.drain_requested
      AND w.lease_until > clock_timestamp() + make_interval(secs => $8)
), turn AS (
    SELECT u.place, row_number() OVER (ORDER BY u.n) AS n
    FROM unnest($5::int[]) WITH ORDINALITY AS u (place, n)
    WHERE u.place IN (SELECT place FROM live)
), pick AS MATERIALIZED (
    SELECT d.id, turn.place
    FROM (SELECT id, row_number() OVER (ORDER BY priority, run_at, id) AS n FROM locked) d JOIN turn USING (n)
), taken AS (
    UPDATE callboard_tasks t
    SET state = 'assigned', attempt = t.attempt + 1, lease_key = $6, session_id = ($3::bigint[])[pick.place + 1],
        assigned_at = clock_timestamp(), started_at = NULL, exec_until = NULL, progress = NULL,
        ack_by = clock_timestamp() + make_interval(secs => $7)
    FROM pick WHERE t.id = pick.id AND t.state = 'queued'
    RETURNING pick.place, t.id, t.attempt, t.lane_id, t.timeout, t.exclusive, t.crashes, t.priority, t.run_at,
              convert_to(t.args::text, 'UTF8') AS args
)
SELECT (SELECT count(*) FROM candidate)::int AS seen, place,
       array_agg(id ORDER BY priority, run_at, id) AS ids,
       array_agg(attempt ORDER BY priority, run_at, id) AS attempts,
       array_agg(lane_id ORDER BY priority, run_at, id) AS lanes,
       array_agg(coalesce(timeout * 1000, -1)::int ORDER BY priority, run_at, id) AS timeouts,
       array_agg(exclusive::int + CASE WHEN crashes >= 2 THEN 2 ELSE 0 END ORDER BY priority, run_at, id) AS flags,
       array_agg(length(args) ORDER BY priority, run_at, id) AS sizes,
       string_agg(args, ''::bytea ORDER BY priority, run_at, id) AS payloads
FROM (SELECT 1) AS one LEFT JOIN taken ON true
GROUP BY place
