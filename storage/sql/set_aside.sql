-- The one task at which a claim of one task of a lane failed goes to quarantine: what the claim got, else the next due.
-- $1 lane, $2 lease key, $3 sessions that were offered, $4 why, $5 ageing (s a priority).
WITH got AS MATERIALIZED (
    SELECT t.id FROM unnest($3::bigint[]) AS s (session_id)
    JOIN callboard_tasks t ON t.session_id = s.session_id AND t.state IN ('assigned', 'running') AND t.lease_key = $2
    LIMIT 1
), next AS MATERIALIZED (
    SELECT c.id, c.priority, c.run_at FROM generate_series(1, 4) AS level (priority)
    CROSS JOIN LATERAL (
        SELECT t.id, t.priority, t.run_at FROM callboard_tasks t
        WHERE t.lane_id = $1 AND t.priority = level.priority::smallint AND t.state = 'queued'
          AND t.run_at <= statement_timestamp() AND (t.expires_at IS NULL OR t.expires_at > statement_timestamp())
        ORDER BY t.run_at, t.id LIMIT 1
    ) c
    WHERE NOT EXISTS (SELECT FROM got)
    ORDER BY c.run_at + make_interval(secs => c.priority * $5), c.priority, c.id LIMIT 1
)
UPDATE callboard_tasks t
SET state = 'quarantined', finished_at = clock_timestamp(), ack_by = NULL, exec_until = NULL,
    error = jsonb_build_object('type', 'Unclaimable', 'message', $4::text, 'traceback', NULL)
FROM (SELECT id FROM got UNION ALL SELECT id FROM next) x
WHERE t.id = x.id AND (t.state IN ('queued', 'assigned')) IS NOT FALSE
RETURNING t.id
