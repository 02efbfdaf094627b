-- oldest: 0001
-- Who has a unique key. Whether the task holds it still is judged when somebody asks: what ends gives its key up by that.

CREATE TABLE callboard_unique_keys (
    key         text PRIMARY KEY,
    task_id     bigint NOT NULL,
    until       text NOT NULL CHECK (until IN ('started', 'finished', 'period')),
    expires_at  timestamptz,
    CHECK ((until = 'period') = (expires_at IS NOT NULL))
);
CREATE INDEX callboard_unique_keys_task ON callboard_unique_keys (task_id);
