-- With how many of its tasks are in which state; of one that was tried anew, the last try. A few thousand rows through the index of one workflow.
SELECT w.id, w.name, w.created_at, w.submitted_by, w.refs, w.task_ids, c.states, c.counts,
       CASE WHEN c.unfinished = 0 THEN c.finished_at END AS finished_at
FROM callboard_workflows w
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(state), '{}') AS states, coalesce(array_agg(count), '{}') AS counts,
           coalesce(sum(count) FILTER (WHERE finished_at IS NULL), 0) AS unfinished, max(finished_at) AS finished_at
    FROM (SELECT t.state, count(*) AS count, max(t.finished_at) AS finished_at FROM callboard_tasks t
          WHERE t.workflow_id = w.id AND t.workflow_id IS NOT NULL
           AND NOT EXISTS (SELECT FROM callboard_tasks r WHERE r.retry_of = t.id) GROUP BY t.state) s
) c
