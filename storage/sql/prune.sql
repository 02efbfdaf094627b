-- T15. A batch of what retention no longer keeps, lane by lane along an index; one pruner at a time. $1 tasks,
-- $2 seconds that succeeded tasks are kept where their queue says nothing, $3 the others, $4 idempotency keys.
-- Nothing goes within a minute of its end: whoever waits for it sees it.
WITH lane AS MATERIALIZED (
    SELECT l.id, statement_timestamp() - make_interval(secs => greatest(coalesce(q.keep_succeeded, $2), 60)) AS succeeded,
           statement_timestamp() - make_interval(secs => greatest(coalesce(q.keep_unsuccessful, $3), 60)) AS unsuccessful
    FROM callboard_lanes l LEFT JOIN callboard_queues q ON q.name = callboard_queue_of(l)
    WHERE (SELECT pg_try_advisory_xact_lock(hashtextextended('callboard prune', 0)))
), old AS MATERIALIZED (
    SELECT o.id FROM lane CROSS JOIN LATERAL (
        (SELECT t.id FROM callboard_tasks t
         WHERE t.lane_id = lane.id AND t.state = 'succeeded' AND t.finished_at < lane.succeeded AND NOT callboard_is_needed(t.id)
         ORDER BY t.finished_at LIMIT $1)
        UNION ALL
        (SELECT t.id FROM callboard_tasks t
         WHERE t.lane_id = lane.id AND t.state IN ('failed', 'cancelled', 'expired', 'quarantined') AND t.finished_at < lane.unsuccessful
           AND NOT callboard_is_needed(t.id)
         ORDER BY t.finished_at LIMIT $1)
    ) o
    LIMIT 10 * $1
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
), rates AS (
    DELETE FROM callboard_rates r USING (SELECT queue, key, until FROM callboard_rates WHERE gone < statement_timestamp() ORDER BY gone LIMIT $1) o
    WHERE r.queue = o.queue AND r.key = o.key AND r.until = o.until
), keys AS (
    DELETE FROM callboard_idempotency_keys WHERE key IN (
        SELECT key FROM callboard_idempotency_keys WHERE created_at < statement_timestamp() - make_interval(secs => $4::float8)
        ORDER BY created_at LIMIT $1)
)
SELECT count(*)::int FROM gone
