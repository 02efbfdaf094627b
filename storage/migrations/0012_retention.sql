-- oldest: 0001
-- Retention reads the oldest end of each lane: queues may differ in how long they keep what.

DROP INDEX callboard_tasks_succeeded;
DROP INDEX callboard_tasks_unsuccessful;
CREATE INDEX callboard_tasks_succeeded ON callboard_tasks (lane_id, finished_at) WHERE state = 'succeeded';
CREATE INDEX callboard_tasks_unsuccessful ON callboard_tasks (lane_id, finished_at)
    WHERE state IN ('failed', 'cancelled', 'expired', 'quarantined');
