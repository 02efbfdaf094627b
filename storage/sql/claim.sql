-- T1. $1 lanes, $2 sessions, $3 epochs, $4 turns (places in $2, one for each task wanted), $5 lease key,
-- $6 acknowledgement window (s), $7 margin (s), $8 ageing (s a priority). Lanes of queues with limits, and lanes whose
-- tasks are to be placed, are for claim_limited.
-- Candidates are read through callboard_tasks_due without locks, so that only what is taken is locked; under the
-- lock they are judged again. Arrays are put together in one order, and picked from by place: no join by rank.
-- A retry is left for 10 s to others than the session that failed it, while another live one serves its lane.
-- IS NOT FALSE: rows known by id are found by primary key, never through a partial index of a state.
WITH session AS MATERIALIZED (
    SELECT array_agg(coalesce(w.session_id, 0) ORDER BY s.place) AS ids  -- 0: gets nothing
    FROM unnest($2::bigint[], $3::int[]) WITH ORDINALITY AS s (session_id, epoch, place)
    LEFT JOIN callboard_workers w ON w.session_id = s.session_id AND w.epoch = s.epoch AND w.state = 'live'
        AND NOT w.paused AND NOT w.drain_requested AND w.lease_until > clock_timestamp() + make_interval(secs => $7)
), turn AS MATERIALIZED (
    -- The lock is what claimed.sql waits for when the outcome of this statement is unknown.
    SELECT array_agg(u.place ORDER BY u.n) AS places, array_agg(session.ids[u.place + 1] ORDER BY u.n) AS sessions,
           count(*) AS count,
           (SELECT pg_advisory_xact_lock(hashtextextended(($5::uuid)::text, 0))) IS NULL AS locked
    FROM unnest($4::int[]) WITH ORDINALITY AS u (place, n), session
    WHERE session.ids[u.place + 1] > 0
), plain AS MATERIALIZED (
    SELECT u.id, u.place FROM unnest($1::int[]) WITH ORDINALITY AS u (id, place)
    WHERE NOT EXISTS (SELECT FROM callboard_lanes l WHERE l.id = u.id AND callboard_is_special(l))
), handler AS MATERIALIZED (
    SELECT array_agg(h.timeout ORDER BY lane.place) AS timeouts
    FROM unnest($1::int[]) WITH ORDINALITY AS lane (id, place)
    LEFT JOIN callboard_lanes l ON l.id = lane.id
    LEFT JOIN callboard_handlers h ON h.name = l.name
), serving AS MATERIALIZED (  -- looked at for retries only
    SELECT lane.place, array_agg(w.session_id) AS sessions
    FROM unnest($1::int[]) WITH ORDINALITY AS lane (id, place)
    JOIN callboard_lanes l ON l.id = lane.id
    LEFT JOIN callboard_handlers h ON h.name = l.name
    JOIN callboard_workers w ON w.state = 'live' AND NOT w.paused AND NOT w.drain_requested
        AND w.lease_until > clock_timestamp() AND l.name = ANY (w.handlers) AND w.labels @> l.requirements
        AND (w.queues = '{}' OR coalesce(l.queue, h.queue, 'default') = ANY (w.queues))
    GROUP BY lane.place
), candidate AS MATERIALIZED (
    SELECT c.id, c.run_at + make_interval(secs => c.priority * $8) AS rank, c.priority, lane.place
    FROM plain AS lane
    CROSS JOIN generate_series(1, 4) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT t.id, t.priority, t.run_at FROM callboard_tasks t
        WHERE t.lane_id = lane.id AND t.priority = level.priority::smallint AND t.state = 'queued'
          AND t.run_at <= statement_timestamp()
          AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
          AND (t.failed_in IS NULL OR t.run_at < statement_timestamp() - interval '10 seconds'
               OR t.failed_in <> ANY ((SELECT sessions FROM turn)::bigint[])
               OR (t.failed_in <> ANY ((SELECT sessions FROM serving WHERE serving.place = lane.place)::bigint[])) IS NOT TRUE)
        ORDER BY t.run_at, t.id LIMIT (SELECT count FROM turn)
    ) c
    ORDER BY rank, c.priority, c.id
    LIMIT (SELECT count FROM turn)
), locked AS MATERIALIZED (
    SELECT t.id, c.rank, c.priority, c.place,
           CASE WHEN t.run_at >= statement_timestamp() - interval '10 seconds' AND t.failed_in <> ANY ((SELECT sessions FROM turn)::bigint[])
                THEN t.failed_in END AS failed_in
    FROM candidate c JOIN callboard_tasks t ON t.id = c.id
    WHERE (t.state = 'queued') IS NOT FALSE AND t.run_at <= statement_timestamp()
    FOR UPDATE OF t SKIP LOCKED
), pick AS MATERIALIZED (
    SELECT id, place, failed_in, row_number() OVER (ORDER BY rank, priority, id) AS n FROM locked
), exchanged AS MATERIALIZED (
    SELECT CASE WHEN count(failed_in) > 0
                THEN callboard_turns(array_agg(failed_in ORDER BY n), (SELECT sessions FROM turn)) END AS turns
    FROM pick
), given AS MATERIALIZED (
    SELECT pick.id, pick.place, pick.n, CASE WHEN exchanged.turns IS NULL THEN pick.n ELSE exchanged.turns[pick.n] END AS turn
    FROM pick, exchanged
), taken AS (
    UPDATE callboard_tasks t
    SET state = 'assigned', attempt = t.attempt + 1, lease_key = $5,
        session_id = turn.sessions[given.turn], assigned_at = clock_timestamp(), started_at = NULL,
        exec_until = NULL, progress = NULL, counted = NULL, ack_by = clock_timestamp() + make_interval(secs => $6)
    FROM given, turn WHERE t.id = given.id AND given.turn > 0 AND (t.state = 'queued') IS NOT FALSE
    RETURNING turn.places[given.turn] AS slot, given.n, t.id, t.attempt, t.lane_id,
              ceil(1000 * least(coalesce(t.timeout, (SELECT timeouts FROM handler)[given.place], 0), 2000000))::int AS timeout,
              t.exclusive::int + CASE WHEN t.crashes >= 2 THEN 2 ELSE 0 END AS flags,
              convert_to(t.args::text, 'UTF8') AS args
)
SELECT slot, array_agg(id) AS ids, array_agg(attempt) AS attempts, array_agg(lane_id) AS lanes,
       array_agg(timeout) AS timeouts, array_agg(flags) AS flags, array_agg(length(args)) AS sizes,
       string_agg(args, ''::bytea) AS payloads, NULL::int[] AS weights, (SELECT count(*) FROM candidate)::int AS seen
FROM (SELECT * FROM taken ORDER BY slot, n) AS ordered
GROUP BY slot
UNION ALL
SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, (SELECT count(*) FROM candidate)::int
