-- Renews every session of a coordinator in one statement and reads what is wished of them.
-- $1 sessions (rising), $2 epochs, $3 ages of the last heartbeats (s), $4 health, $5 lease (s)
WITH renewed AS (
    UPDATE callboard_workers w
    SET lease_until = greatest(w.lease_until, clock_timestamp() + make_interval(secs => $5 - a.age)),
        last_seen = clock_timestamp() - make_interval(secs => a.age), health = a.health::jsonb
    FROM unnest($1::bigint[], $2::int[], $3::float8[], $4::text[]) AS a (session_id, epoch, age, health)
    WHERE w.session_id = a.session_id AND w.epoch = a.epoch AND (w.state IN ('live', 'draining')) IS NOT FALSE
    RETURNING w.session_id, w.paused, w.drain_requested
), wish AS MATERIALIZED (
    SELECT t.session_id, t.id, t.attempt, t.lease_key FROM renewed r
    JOIN callboard_tasks t ON t.session_id = r.session_id AND t.state IN ('assigned', 'running') AND t.cancel_requested_at IS NOT NULL
    LIMIT 10000
)
SELECT (SELECT array_agg(session_id) FROM renewed) AS sessions,
       (SELECT array_agg(w.session_id) FROM unnest($1::bigint[], $2::int[]) AS a (session_id, epoch)
        JOIN callboard_workers w ON w.session_id = a.session_id
        WHERE w.epoch > a.epoch AND (w.state IN ('live', 'draining')) IS NOT FALSE) AS moved,
       (SELECT array_agg(session_id) FROM renewed WHERE paused) AS paused,
       (SELECT array_agg(session_id) FROM renewed WHERE drain_requested) AS drain,
       array_agg(session_id) AS wish_sessions, array_agg(id) AS wish_ids,
       array_agg(attempt) AS wish_attempts, array_agg(lease_key) AS wish_keys,
       pg_postmaster_start_time() AS server_started, extract(epoch FROM clock_timestamp())::float8 AS clock
FROM wish
