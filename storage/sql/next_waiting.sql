-- Of schedules that are locked and have no unfinished task: the slot that waited longest, backfills last. $1 schedules
SELECT DISTINCT ON (w.schedule_id) w.id, w.schedule_id, w.slot_at, w.run_at, w.dst
FROM callboard_schedule_slots w
WHERE w.schedule_id = ANY ($1::bigint[]) AND w.state = 'waiting'
  AND NOT EXISTS (SELECT FROM callboard_tasks t
                  WHERE t.schedule_id = w.schedule_id AND t.schedule_id IS NOT NULL AND t.finished_at IS NULL)
ORDER BY w.schedule_id, w.kind = 'backfill', w.slot_at
