-- T18. Tells children how their parents ended. A parent is taken off the list once none of its children is left to be told:
-- a statement after the one that told the last. Parents are shared among those who run this, children are locked by id.
-- $1 edges at a time, $2 channel of due tasks
WITH finished AS MATERIALIZED (
    SELECT task_id FROM callboard_finished_parents ORDER BY task_id LIMIT 500 FOR UPDATE SKIP LOCKED
), edge AS MATERIALIZED (
    SELECT d.child_id, d.parent_id, d.cancels AND p.state IS DISTINCT FROM 'succeeded' AS fatal, p.state, l.name
    FROM finished f
    JOIN callboard_dependencies d ON d.parent_id = f.task_id AND NOT d.settled
    LEFT JOIN callboard_tasks p ON p.id = f.task_id
    LEFT JOIN callboard_lanes l ON l.id = p.lane_id
    LIMIT $1
), locked AS MATERIALIZED (
    SELECT t.id FROM callboard_tasks t WHERE t.id IN (SELECT child_id FROM edge) ORDER BY t.id FOR UPDATE
), told AS (
    UPDATE callboard_dependencies d SET settled = true
    FROM edge e WHERE d.child_id = e.child_id AND d.parent_id = e.parent_id AND (SELECT count(*) FROM locked) >= 0
), child AS MATERIALIZED (
    SELECT child_id, count(*)::int AS count, bool_or(fatal) AS fatal,
           min(format('task %s (%s) %s', parent_id, coalesce(name, 'gone'),
                      CASE state WHEN 'failed' THEN 'failed' WHEN 'cancelled' THEN 'was cancelled' WHEN 'expired' THEN 'expired'
                                 WHEN 'quarantined' THEN 'was quarantined' ELSE 'is gone' END)) FILTER (WHERE fatal) AS why
    FROM edge GROUP BY child_id
), changed AS (
    UPDATE callboard_tasks t
    SET parents_left = CASE WHEN c.fatal THEN t.parents_left ELSE greatest(t.parents_left - c.count, 0) END,
        state = CASE WHEN c.fatal THEN 'cancelled' WHEN t.parents_left <= c.count THEN 'queued' ELSE 'blocked' END,
        finished_at = CASE WHEN c.fatal THEN clock_timestamp() END,
        run_at = CASE WHEN NOT c.fatal AND t.parents_left <= c.count THEN greatest(t.run_at, clock_timestamp()) ELSE t.run_at END,
        error = CASE WHEN c.fatal THEN jsonb_build_object('type', 'ParentFailed', 'message', c.why, 'traceback', NULL) ELSE t.error END
    FROM child c
    WHERE t.id = c.child_id AND (t.state = 'blocked') IS NOT FALSE AND (SELECT count(*) FROM locked) >= 0
    RETURNING t.id, t.state, t.run_at, t.inputs
), gone AS (
    DELETE FROM callboard_finished_parents f USING finished
    WHERE f.task_id = finished.task_id
      AND NOT EXISTS (SELECT FROM callboard_dependencies d WHERE d.parent_id = f.task_id AND NOT d.settled)
), hint AS (
    SELECT pg_notify($2, '') FROM (SELECT FROM changed WHERE state = 'queued' AND run_at <= clock_timestamp() LIMIT 1) x
)
SELECT (SELECT count(*) FROM finished)::int AS parents, (SELECT count(*) FROM hint) > 0 AS due,
       (SELECT count(*) FROM changed WHERE state = 'cancelled') > 0 AS final,
       (SELECT array_agg(id ORDER BY id) FROM changed WHERE state = 'queued' AND inputs IS NOT NULL) AS hungry
