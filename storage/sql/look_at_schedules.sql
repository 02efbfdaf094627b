-- What a scheduler wakes up for, and how the schedules are doing. Two ends of one index, and one bounded count.
SELECT statement_timestamp() AS now,
       (SELECT min(next_slot_at) FROM callboard_schedules WHERE NOT paused AND deleted_at IS NULL) AS next_at,
       EXISTS (SELECT FROM callboard_schedule_slots WHERE state = 'waiting') AS waiting,
       EXISTS (SELECT FROM callboard_schedules WHERE tzdata = '' AND deleted_at IS NULL) AS untimed,
       o.count AS overdue, o.names
FROM (
    SELECT count(*)::int AS count, coalesce((array_agg(name))[1:3], '{}') AS names
    FROM (SELECT name FROM callboard_schedules
          WHERE NOT paused AND deleted_at IS NULL AND skip_until IS NULL
            AND next_slot_at < statement_timestamp() - interval '60 seconds'
          ORDER BY next_slot_at LIMIT 1000) late
) o
