-- What a claim took that had begun before its queue had limits counts from now on. $1 queues
WITH held AS MATERIALIZED (
    SELECT t.id, t.lane_id, t.session_id FROM callboard_workers w JOIN callboard_tasks t ON t.session_id = w.session_id
    WHERE w.state IN ('live', 'draining', 'dead') AND NOT w.swept AND t.state IN ('assigned', 'running') AND t.counted IS NULL
)
UPDATE callboard_tasks t SET counted = callboard_queue_of(l)
FROM held h JOIN callboard_lanes l ON l.id = h.lane_id
WHERE t.id = h.id AND t.session_id = h.session_id AND (t.state IN ('assigned', 'running')) IS NOT FALSE AND t.counted IS NULL
  AND callboard_queue_of(l) = ANY ($1::text[])
