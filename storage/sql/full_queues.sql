-- Queues in which $1 tasks or more wait, and the lanes that lead into them. Nothing is counted by queue while fewer wait in all.
WITH waiting AS MATERIALIZED (
    SELECT count(*) AS count FROM (SELECT FROM callboard_tasks WHERE state = 'queued' LIMIT $1) t
), depth AS MATERIALIZED (
    SELECT t.lane_id, count(*) AS count FROM callboard_tasks t
    WHERE t.state = 'queued' AND (SELECT count FROM waiting) >= $1
    GROUP BY t.lane_id
), lane AS MATERIALIZED (
    SELECT l.id, l.name, l.queue AS given, coalesce(l.queue, h.queue, $2) AS queue
    FROM callboard_lanes l LEFT JOIN callboard_handlers h ON h.name = l.name
), filled AS MATERIALIZED (
    SELECT lane.queue FROM depth JOIN lane ON lane.id = depth.lane_id GROUP BY lane.queue HAVING sum(depth.count) >= $1
)
SELECT lane.name, lane.given, lane.queue FROM filled JOIN lane ON lane.queue = filled.queue
