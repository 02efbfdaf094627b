-- Handlers of due tasks that no live worker would take. $1 the default queue, $2 how many at most.
SELECT DISTINCT l.name FROM callboard_lanes l
LEFT JOIN callboard_handlers h ON h.name = l.name
CROSS JOIN LATERAL (
    SELECT FROM generate_series(1, 4) AS level (priority)
    CROSS JOIN LATERAL (SELECT FROM callboard_tasks t
                        WHERE t.lane_id = l.id AND t.priority = level.priority::smallint AND t.state = 'queued'
                          AND t.run_at <= statement_timestamp() ORDER BY t.run_at LIMIT 1) due
    LIMIT 1
) waits
WHERE NOT EXISTS (
    SELECT FROM callboard_workers w
    WHERE w.state IN ('live', 'draining') AND w.lease_until > clock_timestamp() AND l.name = ANY (w.handlers)
      AND w.labels @> l.requirements AND (w.queues = '{}' OR coalesce(l.queue, h.queue, $1) = ANY (w.queues)))
ORDER BY l.name LIMIT $2
