-- T15. A batch of what retention no longer keeps: succeeded 7 days, other final states 30, idempotency keys 24 hours.
WITH old AS MATERIALIZED (
    SELECT id FROM callboard_tasks
    WHERE finished_at < clock_timestamp() - CASE state WHEN 'succeeded' THEN interval '7 days' ELSE interval '30 days' END
    ORDER BY id LIMIT $1
), gone AS (
    DELETE FROM callboard_tasks t USING old WHERE t.id = old.id RETURNING t.id
), attempts AS (
    DELETE FROM callboard_attempts a USING old WHERE a.task_id = old.id
), keys AS (
    DELETE FROM callboard_idempotency_keys WHERE key IN (
        SELECT key FROM callboard_idempotency_keys WHERE created_at < clock_timestamp() - interval '24 hours' LIMIT $1)
), sessions AS (
    DELETE FROM callboard_workers WHERE ended_at < clock_timestamp() - interval '30 days'
)
SELECT count(*)::int FROM gone
