-- Of each schedule: its oldest unfinished task, and whether a slot waits (backfills wait behind all others).
-- $1 schedules
SELECT g.id,
       (SELECT min(t.id) FROM callboard_tasks t
        WHERE t.schedule_id = g.id AND t.schedule_id IS NOT NULL AND t.finished_at IS NULL) AS task,
       EXISTS (SELECT FROM callboard_schedule_slots w
               WHERE w.schedule_id = g.id AND w.state = 'waiting' AND w.kind <> 'backfill') AS waiting
FROM unnest($1::bigint[]) AS g (id)
