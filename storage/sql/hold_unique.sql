-- $1 keys, $2 tasks, $3 until, $4 seconds of a period
INSERT INTO callboard_unique_keys (key, task_id, until, expires_at)
SELECT key, task, until, clock_timestamp() + make_interval(secs => period)
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::float8[]) AS g (key, task, until, period)
ON CONFLICT (key) DO UPDATE SET task_id = excluded.task_id, until = excluded.until, expires_at = excluded.expires_at
