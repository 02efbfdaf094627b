UPDATE callboard_workers
SET paused = coalesce($2, paused), drain_requested = coalesce($3, drain_requested)
WHERE worker = $1 AND state IN ('live', 'draining')
