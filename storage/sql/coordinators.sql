SELECT c.id, c.address, c.version, c.started_at, c.seen_until, c.seen_until > clock_timestamp() AS alive,
       (SELECT count(*) FROM callboard_workers w
        WHERE w.coordinator_id = c.id AND w.state IN ('live', 'draining'))::int AS workers
FROM callboard_coordinators c ORDER BY c.started_at
