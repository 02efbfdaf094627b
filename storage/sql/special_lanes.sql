-- Those of the lanes that the usual claim leaves alone and that may start something. $1 lanes
SELECT l.id, callboard_queue_of(l) AS queue, l.keyed,
       EXISTS (SELECT FROM callboard_queues q WHERE q.name = callboard_queue_of(l) AND q.limited) AS limited
FROM callboard_lanes l
WHERE l.id = ANY ($1::int[]) AND callboard_is_special(l)
  AND NOT EXISTS (SELECT FROM callboard_queues q WHERE q.name = callboard_queue_of(l) AND q.paused)
  AND NOT EXISTS (SELECT FROM callboard_paused_names p WHERE p.name = l.name)
ORDER BY l.id
