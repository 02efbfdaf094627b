SELECT DISTINCT ON (w.worker) w.worker AS id, w.name, w.state, w.slots,
       (SELECT count(*) FROM callboard_tasks t WHERE t.session_id = w.session_id AND t.state IN ('assigned', 'running'))::int AS running,
       w.queues, w.handlers, w.labels::text AS labels, w.version, w.http_address AS address, w.connected_at, w.last_seen,
       w.health::text AS health, w.coordinator_id AS coordinator, w.paused, w.drain_requested, w.lease_until,
       clock_timestamp() AS now, w.session_id AS session
FROM callboard_workers w
WHERE ($1::text IS NULL OR w.worker = $1)
  AND ($2 OR w.state IN ('live', 'draining') OR w.ended_at > clock_timestamp() - interval '1 hour')
ORDER BY w.worker, w.session_id DESC
LIMIT 1000
