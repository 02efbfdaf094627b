-- T15. A batch of what retention no longer keeps: succeeded 7 days, other final states 30, idempotency keys 24 hours.
WITH old AS MATERIALIZED (
    (SELECT id FROM callboard_tasks
     WHERE state = 'succeeded' AND finished_at < statement_timestamp() - interval '7 days' AND NOT callboard_is_needed(id)
     ORDER BY finished_at LIMIT $1)
    UNION ALL
    (SELECT id FROM callboard_tasks
     WHERE state IN ('failed', 'cancelled', 'expired', 'quarantined') AND finished_at < statement_timestamp() - interval '30 days'
       AND NOT callboard_is_needed(id)
     ORDER BY finished_at LIMIT $1)
), gone AS (
    DELETE FROM callboard_tasks t USING (SELECT id FROM old ORDER BY id LIMIT $1) o
    WHERE t.id = o.id RETURNING t.id
), attempts AS (
    DELETE FROM callboard_attempts a USING gone WHERE a.task_id = gone.id
), edges AS (
    DELETE FROM callboard_dependencies d USING gone WHERE d.child_id = gone.id
), uniques AS (
    DELETE FROM callboard_unique_keys u USING gone WHERE u.task_id = gone.id
), workflows AS (
    DELETE FROM callboard_workflows WHERE id IN (
        SELECT w.id FROM callboard_workflows w WHERE w.created_at < statement_timestamp() - interval '7 days'
          AND NOT EXISTS (SELECT FROM callboard_tasks t WHERE t.workflow_id = w.id AND t.workflow_id IS NOT NULL)
        ORDER BY w.id LIMIT 100)
), keys AS (
    DELETE FROM callboard_idempotency_keys WHERE key IN (
        SELECT key FROM callboard_idempotency_keys WHERE created_at < statement_timestamp() - interval '24 hours'
        ORDER BY created_at LIMIT $1)
)
SELECT count(*)::int FROM gone
