-- Finished tasks as new ones. $1 tasks, $2 who asks, $3 parents of each, $4 parents that it waits for, $5 whether it has children
INSERT INTO callboard_tasks (lane_id, args, priority, timeout, max_tries, backoff, exclusive, retry_on_crash, tags, metadata,
                             concurrency_key, weight, affinity_key, workflow_id, schedule_id, retry_of, submitted_by,
                             parents, parents_left, has_children, inputs, state)
SELECT t.lane_id, t.args, t.priority, t.timeout, t.max_tries, t.backoff, t.exclusive, t.retry_on_crash, t.tags, t.metadata,
       t.concurrency_key, t.weight, t.affinity_key, t.workflow_id, t.schedule_id, t.id, coalesce($2, t.submitted_by),
       g.parents, g.parents_left, g.has_children, t.inputs, CASE WHEN g.parents_left > 0 THEN 'blocked' ELSE 'queued' END
FROM unnest($1::bigint[], $3::int[], $4::int[], $5::boolean[]) AS g (id, parents, parents_left, has_children)
JOIN callboard_tasks t ON t.id = g.id
RETURNING id, retry_of
