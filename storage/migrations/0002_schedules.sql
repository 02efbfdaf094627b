-- oldest: 0001
-- Schedules, and the ledger of their nominal times.

CREATE TABLE callboard_schedules (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           text NOT NULL,
    version        integer NOT NULL DEFAULT 1,     -- of the definition
    definition     jsonb NOT NULL,                 -- rule, policies, task; see actors/model/schedule_form.py
    lane_id        integer NOT NULL,               -- of its tasks
    anchor         timestamptz NOT NULL,           -- what intervals are counted from
    counted_to     timestamptz NOT NULL,           -- every nominal time up to here is accounted for; never falls
    next_slot_at   timestamptz,                    -- NULL: there will be no more
    last_slot_at   timestamptz,
    paused         boolean NOT NULL DEFAULT false,
    paused_reason  text,
    paused_at      timestamptz,
    catching_up    integer NOT NULL DEFAULT 0,     -- missed slots fired since it was last up to date
    skip_until     timestamptz,                    -- nominal times up to here belong to a gap
    skip_reason    text,
    gap_from       timestamptz,                    -- the gap entry that is being counted
    tzdata         text NOT NULL DEFAULT '',       -- version of the time zone data behind next_slot_at
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    deleted_at     timestamptz,                    -- the name is free again; the ledger goes with retention
    CHECK (paused = (paused_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX callboard_schedules_name ON callboard_schedules (name) WHERE deleted_at IS NULL;
CREATE INDEX callboard_schedules_due ON callboard_schedules (next_slot_at) WHERE NOT paused AND deleted_at IS NULL;

-- One row a nominal time, or one that counts a whole gap of them.
CREATE TABLE callboard_schedule_slots (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    schedule_id  bigint NOT NULL,
    slot_at      timestamptz NOT NULL,             -- of a gap: the first in it
    kind         text NOT NULL DEFAULT 'nominal' CHECK (kind IN ('nominal', 'trigger', 'backfill')),
    state        text NOT NULL CHECK (state IN ('fired', 'waiting', 'skipped', 'gap')),
    reason       text,                             -- why it was skipped, or waits
    task_id      bigint,
    run_at       timestamptz,                      -- with jitter
    dst          text NOT NULL DEFAULT '',
    version      integer NOT NULL,                 -- of the schedule that decided
    count        bigint NOT NULL DEFAULT 1 CHECK (count > 0),
    until        timestamptz,                      -- the last in a gap
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK ((state = 'gap') = (until IS NOT NULL)),
    CHECK (state <> 'gap' OR until >= slot_at),
    CHECK (state = 'gap' OR count = 1),
    CHECK (state IN ('fired', 'waiting') OR task_id IS NULL)
);
-- A slot is there once, whoever fires it and however often. What was counted in a gap may still be filled in by hand.
CREATE UNIQUE INDEX callboard_schedule_slots_key ON callboard_schedule_slots (schedule_id, slot_at, (state = 'gap'));
CREATE INDEX callboard_schedule_slots_listed ON callboard_schedule_slots (schedule_id, id);
CREATE INDEX callboard_schedule_slots_waiting ON callboard_schedule_slots (schedule_id, slot_at) WHERE state = 'waiting';
CREATE INDEX callboard_schedule_slots_age ON callboard_schedule_slots (created_at);

ALTER TABLE callboard_tasks ADD COLUMN schedule_id bigint;  -- of the schedule that posted it
CREATE INDEX callboard_tasks_schedule ON callboard_tasks (schedule_id, id) WHERE schedule_id IS NOT NULL;
-- The same order, so that the planner takes the smaller one for what is unfinished.
CREATE INDEX callboard_tasks_unfinished_of_schedule ON callboard_tasks (schedule_id, id)
    WHERE schedule_id IS NOT NULL AND finished_at IS NULL;
