-- The linear truth: every change of a task's, a session's and a coordinator's standing, written in its own transaction.
-- A row lock orders the changes of one row, so their ids rise in the order in which they happened.
CREATE TABLE bench_audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, txid bigint NOT NULL DEFAULT txid_current(),
    at timestamptz NOT NULL DEFAULT clock_timestamp(), "table" text NOT NULL, key text NOT NULL,
    old_state text, new_state text, old_attempt integer, attempt integer, lease_key uuid, session bigint, epoch integer,
    tries integer, crashes integer, undelivered integer, cancel boolean, result_hash bigint, run_at timestamptz,
    actor text NOT NULL DEFAULT current_setting('application_name')
);

CREATE FUNCTION bench_audit_task() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        INSERT INTO bench_audit ("table", key, old_state, old_attempt) VALUES ('tasks', OLD.id, OLD.state, OLD.attempt);
        RETURN NULL;
    END IF;
    INSERT INTO bench_audit ("table", key, old_state, new_state, old_attempt, attempt, lease_key, session, tries, crashes,
                             undelivered, cancel, result_hash, run_at)
    VALUES ('tasks', NEW.id, CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, NEW.state,
            CASE TG_OP WHEN 'UPDATE' THEN OLD.attempt END, NEW.attempt,
            coalesce(NEW.lease_key, CASE TG_OP WHEN 'UPDATE' THEN OLD.lease_key END),
            coalesce(NEW.session_id, CASE TG_OP WHEN 'UPDATE' THEN OLD.session_id END), NEW.tries, NEW.crashes,
            NEW.undelivered, NEW.cancel_requested_at IS NOT NULL, NEW.result_hash, NEW.run_at);
    RETURN NULL;
END $$;
CREATE TRIGGER bench_audit_task_change AFTER INSERT OR DELETE ON callboard_tasks
    FOR EACH ROW EXECUTE FUNCTION bench_audit_task();
CREATE TRIGGER bench_audit_task_update AFTER UPDATE ON callboard_tasks FOR EACH ROW
    WHEN ((OLD.state, OLD.attempt, OLD.lease_key, OLD.session_id, OLD.tries, OLD.crashes, OLD.undelivered, OLD.run_at,
           OLD.cancel_requested_at, OLD.result_hash, OLD.finished_at)
          IS DISTINCT FROM (NEW.state, NEW.attempt, NEW.lease_key, NEW.session_id, NEW.tries, NEW.crashes,
           NEW.undelivered, NEW.run_at, NEW.cancel_requested_at, NEW.result_hash, NEW.finished_at))
    EXECUTE FUNCTION bench_audit_task();

CREATE FUNCTION bench_audit_worker() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench_audit ("table", key, old_state, new_state, session, epoch)
    VALUES ('workers', NEW.session_id, CASE TG_OP WHEN 'UPDATE' THEN OLD.state END, NEW.state, NEW.session_id, NEW.epoch);
    RETURN NULL;
END $$;
CREATE TRIGGER bench_audit_worker_insert AFTER INSERT ON callboard_workers
    FOR EACH ROW EXECUTE FUNCTION bench_audit_worker();
CREATE TRIGGER bench_audit_worker_update AFTER UPDATE ON callboard_workers FOR EACH ROW
    WHEN ((OLD.state, OLD.epoch, OLD.coordinator_id) IS DISTINCT FROM (NEW.state, NEW.epoch, NEW.coordinator_id))
    EXECUTE FUNCTION bench_audit_worker();

CREATE FUNCTION bench_audit_coordinator() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO bench_audit ("table", key, old_state, new_state)
    VALUES ('coordinators', coalesce(NEW.id, OLD.id), CASE TG_OP WHEN 'DELETE' THEN 'there' END,
            CASE TG_OP WHEN 'DELETE' THEN 'gone' ELSE 'there' END);
    RETURN NULL;
END $$;
CREATE TRIGGER bench_audit_coordinator_change AFTER INSERT OR DELETE ON callboard_coordinators
    FOR EACH ROW EXECUTE FUNCTION bench_audit_coordinator();
