UPDATE callboard_workers
SET epoch = epoch + 1, coordinator_id = $3, lease_until = greatest(lease_until, clock_timestamp() + make_interval(secs => $4)),
    last_seen = clock_timestamp(), slots = $5, queues = $6, handlers = $7, labels = $8::jsonb, version = $9, http_address = $10
WHERE session_id = $1 AND secret_hash = $2 AND state IN ('live', 'draining')
RETURNING session_id, epoch
