-- A batch of what retention no longer keeps of the ledger, and deleted schedules without one. $1 how many
WITH gone AS (
    DELETE FROM callboard_schedule_slots WHERE id IN (
        SELECT id FROM callboard_schedule_slots
        WHERE created_at < statement_timestamp() - interval '30 days' AND state <> 'waiting'
        ORDER BY created_at LIMIT $1)
    RETURNING 1
), unnamed AS (
    DELETE FROM callboard_schedules s
    WHERE s.deleted_at < statement_timestamp() - interval '31 days'
      AND NOT EXISTS (SELECT FROM callboard_schedule_slots w WHERE w.schedule_id = s.id)
)
SELECT count(*)::int FROM gone
