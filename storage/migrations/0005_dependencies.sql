-- oldest: 0001
-- Which tasks wait for which.

CREATE TABLE callboard_dependencies (
    child_id   bigint NOT NULL,
    parent_id  bigint NOT NULL,
    cancels    boolean NOT NULL,                 -- the child is cancelled when the parent did not succeed
    settled    boolean NOT NULL DEFAULT false,   -- the child knows how the parent ended
    PRIMARY KEY (child_id, parent_id)
);
CREATE INDEX callboard_dependencies_parent ON callboard_dependencies (parent_id, settled);

CREATE TABLE callboard_workflows (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    submitted_by  text,
    refs          text[] NOT NULL,     -- what its tasks are called in it
    task_ids      bigint[] NOT NULL    -- in the same order
);
CREATE INDEX callboard_tasks_workflow ON callboard_tasks (workflow_id) WHERE workflow_id IS NOT NULL;

-- Parents that have ended and whose children have not been told. Written in the transaction that ends the parent,
-- whoever ends it and by what statement: no crash between the two leaves a child waiting for ever.
CREATE TABLE callboard_finished_parents (
    task_id  bigint PRIMARY KEY
);
CREATE FUNCTION callboard_note_finished_parent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('INSERT INTO %I.callboard_finished_parents (task_id) VALUES ($1) ON CONFLICT DO NOTHING', TG_TABLE_SCHEMA) USING NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER callboard_tasks_parents AFTER UPDATE ON callboard_tasks FOR EACH ROW
    WHEN (NEW.has_children AND NEW.finished_at IS NOT NULL AND OLD.finished_at IS NULL)
    EXECUTE FUNCTION callboard_note_finished_parent();

DROP INDEX callboard_tasks_expiring;
CREATE INDEX callboard_tasks_expiring ON callboard_tasks (expires_at) WHERE state IN ('queued', 'blocked') AND expires_at IS NOT NULL;

-- Whether an unfinished task depends on it: its result may be asked for.
CREATE FUNCTION callboard_is_needed(task bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM callboard_dependencies d JOIN callboard_tasks c ON c.id = d.child_id
                   WHERE d.parent_id = task AND c.finished_at IS NULL)
$$;
