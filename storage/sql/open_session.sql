-- What an operator wished of this process outlives a session that it lost: the secret tells that it is the same one.
WITH former AS (
    SELECT paused, drain_requested FROM callboard_workers
    WHERE worker = $1 AND secret_hash = $3 ORDER BY session_id DESC LIMIT 1
)
INSERT INTO callboard_workers (worker, name, secret_hash, coordinator_id, lease_until, slots, queues, handlers, labels, version,
                               http_address, paused, drain_requested)
VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5), $6, $7, $8, $9::jsonb, $10, $11,
        coalesce((SELECT paused FROM former), false), coalesce((SELECT drain_requested FROM former), false))
RETURNING session_id, epoch
