SELECT s.id, s.name, s.version, s.definition::text AS definition, s.lane_id, s.anchor, s.counted_to, s.next_slot_at,
       s.last_slot_at, s.paused, s.paused_reason, s.paused_at, s.catching_up, s.skip_until, s.skip_reason, s.gap_from,
       s.created_at, s.updated_at, clock_timestamp() AS now
FROM callboard_schedules s
