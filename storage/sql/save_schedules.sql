-- What a decision leaves behind, for the version that it was made about. The rows are locked.
-- $1 ids, $2 versions before, $3 versions, $4 definitions, $5 lanes, $6 anchors, $7 counted_to, $8 next_slot_at,
-- $9 last_slot_at, $10 paused, $11 reasons, $12 paused_at, $13 catching_up, $14 skip_until, $15 skip_reason, $16 gap_from,
-- $17 updated_at, $18 version of the time zone data
UPDATE callboard_schedules s
SET version = g.version, definition = coalesce(g.definition::jsonb, s.definition), lane_id = coalesce(g.lane_id, s.lane_id),
    anchor = g.anchor, counted_to = greatest(s.counted_to, g.counted_to), next_slot_at = g.next_slot_at,
    last_slot_at = g.last_slot_at, paused = g.paused, paused_reason = g.paused_reason, paused_at = g.paused_at,
    catching_up = g.catching_up, skip_until = g.skip_until, skip_reason = g.skip_reason, gap_from = g.gap_from,
    updated_at = g.updated_at, tzdata = $18
FROM unnest($1::bigint[], $2::int[], $3::int[], $4::text[], $5::int[], $6::timestamptz[], $7::timestamptz[],
            $8::timestamptz[], $9::timestamptz[], $10::boolean[], $11::text[], $12::timestamptz[], $13::int[],
            $14::timestamptz[], $15::text[], $16::timestamptz[], $17::timestamptz[])
  AS g (id, version_before, version, definition, lane_id, anchor, counted_to, next_slot_at, last_slot_at, paused,
        paused_reason, paused_at, catching_up, skip_until, skip_reason, gap_from, updated_at)
WHERE s.id = g.id AND s.version = g.version_before AND s.deleted_at IS NULL
