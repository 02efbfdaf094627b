INSERT INTO callboard_workers (worker, name, secret_hash, coordinator_id, lease_until, slots, queues, handlers, labels, version, http_address)
VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5), $6, $7, $8, $9::jsonb, $10, $11)
RETURNING session_id, epoch
