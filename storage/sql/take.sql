-- T1 for tasks that were picked under limits. $1 tasks, $2 places of their sessions, $3 queues that count them (NULL: none),
-- $4 sessions, $5 epochs, $6 lease key, $7 acknowledgement window (s), $8 margin (s).
WITH session AS MATERIALIZED (
    SELECT s.place, w.session_id
    FROM unnest($4::bigint[], $5::int[]) WITH ORDINALITY AS s (session_id, epoch, place)
    JOIN callboard_workers w ON w.session_id = s.session_id AND w.epoch = s.epoch AND w.state = 'live'
        AND NOT w.paused AND NOT w.drain_requested AND w.lease_until > clock_timestamp() + make_interval(secs => $8)
), locked AS MATERIALIZED (
    SELECT t.id, g.place, g.counted, g.n, session.session_id
    FROM unnest($1::bigint[], $2::int[], $3::text[]) WITH ORDINALITY AS g (id, place, counted, n)
    JOIN session ON session.place = g.place + 1
    JOIN callboard_tasks t ON t.id = g.id
    WHERE (t.state = 'queued') IS NOT FALSE AND t.run_at <= statement_timestamp()
      AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
    FOR UPDATE OF t SKIP LOCKED
), taken AS (
    UPDATE callboard_tasks t
    SET state = 'assigned', attempt = t.attempt + 1, lease_key = $6, session_id = l.session_id, assigned_at = clock_timestamp(),
        started_at = NULL, exec_until = NULL, progress = NULL, counted = l.counted, ack_by = clock_timestamp() + make_interval(secs => $7)
    FROM locked l WHERE t.id = l.id AND (t.state = 'queued') IS NOT FALSE
    RETURNING l.place AS slot, l.n, t.id, t.attempt, t.lane_id, t.timeout, t.weight,
              t.exclusive::int + CASE WHEN t.crashes >= 2 THEN 2 ELSE 0 END AS flags, convert_to(t.args::text, 'UTF8') AS args
), ordered AS (
    SELECT taken.*, ceil(1000 * least(coalesce(taken.timeout, h.timeout, 0), 2000000))::int AS milliseconds
    FROM taken LEFT JOIN callboard_lanes l ON l.id = taken.lane_id LEFT JOIN callboard_handlers h ON h.name = l.name
    ORDER BY taken.slot, taken.n
)
SELECT slot, array_agg(id) AS ids, array_agg(attempt) AS attempts, array_agg(lane_id) AS lanes,
       array_agg(milliseconds) AS timeouts, array_agg(flags) AS flags, array_agg(length(args)) AS sizes,
       string_agg(args, ''::bytea) AS payloads, array_agg(weight::int) AS weights
FROM ordered GROUP BY slot
