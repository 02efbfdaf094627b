SELECT coalesce(l.queue, h.queue, 'default') AS queue, count(*)::bigint AS depth,
       count(*) FILTER (WHERE t.run_at <= statement_timestamp())::bigint AS due,
       extract(epoch FROM clock_timestamp() - min(t.run_at) FILTER (WHERE t.run_at <= statement_timestamp()))::float8 AS oldest
FROM (SELECT lane_id, run_at FROM callboard_tasks WHERE state = 'queued' LIMIT $1) t
JOIN callboard_lanes l ON l.id = t.lane_id
LEFT JOIN callboard_handlers h ON h.name = l.name
GROUP BY 1 ORDER BY 1
