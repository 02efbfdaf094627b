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

ALTER TABLE callboard_tasks ADD COLUMN inputs text;   -- the argument that gets its parents' results

-- What a task is called in a workflow, by itself or by what it is a retry of.
CREATE FUNCTION callboard_ref(workflow bigint, task bigint) RETURNS text LANGUAGE sql STABLE AS $$
    WITH RECURSIVE origin AS (
        SELECT task AS id, 0 AS n
        UNION ALL
        SELECT t.retry_of, o.n + 1 FROM origin o JOIN callboard_tasks t ON t.id = o.id WHERE t.retry_of IS NOT NULL AND o.n < 100
    )
    SELECT w.refs[array_position(w.task_ids, o.id)] FROM origin o JOIN callboard_workflows w ON w.id = workflow AND o.id = ANY (w.task_ids)
    ORDER BY o.n LIMIT 1
$$;

-- Gives children that wait for nobody any more the results of their parents, by ref or id; null of one that did not succeed.
-- What gets too large with them is cancelled: it could not travel.
CREATE FUNCTION callboard_give_inputs(children bigint[]) RETURNS void LANGUAGE sql AS $$
    WITH given AS MATERIALIZED (
        SELECT c.id, c.args || jsonb_build_object(c.inputs, jsonb_object_agg(
                   coalesce(callboard_ref(c.workflow_id, d.parent_id), d.parent_id::text), CASE WHEN p.state = 'succeeded' THEN p.result END)) AS args
        FROM unnest(children) AS x (id) JOIN callboard_tasks c ON c.id = x.id
        JOIN callboard_dependencies d ON d.child_id = c.id LEFT JOIN callboard_tasks p ON p.id = d.parent_id
        WHERE c.inputs IS NOT NULL AND c.state = 'queued'
        GROUP BY c.id
    )
    UPDATE callboard_tasks t
    SET args = CASE WHEN octet_length(g.args::text) <= 262144 THEN g.args ELSE t.args END,
        state = CASE WHEN octet_length(g.args::text) <= 262144 THEN t.state ELSE 'cancelled' END,
        finished_at = CASE WHEN octet_length(g.args::text) > 262144 THEN clock_timestamp() END,
        error = CASE WHEN octet_length(g.args::text) > 262144 THEN jsonb_build_object('type', 'InputsTooLarge', 'message',
                     format('with the results of its parents it would have %s bytes of arguments; at most 262144 (256 KiB) are kept: return references', octet_length(g.args::text)),
                     'traceback', NULL) ELSE t.error END
    FROM given g WHERE t.id = g.id
$$;
