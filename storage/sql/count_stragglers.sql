-- What a claim took that had begun before its queue had limits counts from now on. $1 queues
UPDATE callboard_tasks t SET counted = callboard_queue_of(l)
FROM callboard_workers w, callboard_lanes l
WHERE w.state IN ('live', 'draining', 'dead') AND NOT w.swept AND t.session_id = w.session_id AND t.state IN ('assigned', 'running')
  AND t.counted IS NULL AND l.id = t.lane_id AND callboard_queue_of(l) = ANY ($1::text[])
