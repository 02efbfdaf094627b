-- T13.
UPDATE callboard_tasks SET state = 'expired', finished_at = clock_timestamp()
WHERE id IN (SELECT id FROM callboard_tasks WHERE state IN ('queued', 'blocked') AND expires_at <= clock_timestamp()
             ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
