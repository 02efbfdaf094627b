-- A slot that is there already is not entered again, and not returned; a gap entry goes on counting.
-- $1 schedules, $2 slots, $3 kinds, $4 states, $5 reasons, $6 run_at, $7 dst, $8 versions, $9 counts, $10 last ones of gaps
INSERT INTO callboard_schedule_slots AS s (schedule_id, slot_at, kind, state, reason, run_at, dst, version, count, until)
SELECT * FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::text[],
                     $8::int[], $9::bigint[], $10::timestamptz[])
ON CONFLICT (schedule_id, slot_at, (state = 'gap')) DO UPDATE
SET until = excluded.until, count = s.count + excluded.count
WHERE s.state = 'gap'
RETURNING s.id, s.schedule_id, s.slot_at, s.state
