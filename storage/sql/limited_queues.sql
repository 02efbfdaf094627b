-- Locks the queues with limits that these lanes lead into, in one order: what counts for them changes under this lock only.
-- $1 lanes
SELECT q.name, q.concurrency, q.concurrency_per_key, q.rate_limit, q.rate_period, q.key_rate_limit, q.key_rate_period, q.last_key,
       q.limited_at > clock_timestamp() - interval '10 seconds' AS fresh
FROM callboard_queues q
WHERE q.limited AND NOT q.paused AND q.name IN (SELECT callboard_queue_of(l) FROM callboard_lanes l WHERE l.id = ANY ($1::int[]))
ORDER BY q.name FOR NO KEY UPDATE
