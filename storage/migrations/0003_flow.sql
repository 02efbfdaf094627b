-- oldest: 0001
-- What a task says about where, beside whom and after what it runs.

ALTER TABLE callboard_lanes ADD COLUMN keyed boolean NOT NULL DEFAULT false;    -- its tasks have a concurrency key
ALTER TABLE callboard_lanes ADD COLUMN placed boolean NOT NULL DEFAULT false;   -- they have a weight or an affinity key
DROP INDEX callboard_lanes_key;
CREATE UNIQUE INDEX callboard_lanes_key ON callboard_lanes (name, coalesce(queue, ''), requirements, keyed, placed);

ALTER TABLE callboard_tasks
    ADD COLUMN concurrency_key  text,
    ADD COLUMN affinity_key     text,
    ADD COLUMN unique_key       text,
    ADD COLUMN weight           smallint NOT NULL DEFAULT 1 CHECK (weight BETWEEN 1 AND 1000),
    ADD COLUMN parents          integer NOT NULL DEFAULT 0,      -- tasks that it depends on
    ADD COLUMN parents_left     integer NOT NULL DEFAULT 0 CHECK (parents_left BETWEEN 0 AND parents),
    ADD COLUMN has_children     boolean NOT NULL DEFAULT false,  -- tasks depend on it
    ADD COLUMN workflow_id      bigint;
