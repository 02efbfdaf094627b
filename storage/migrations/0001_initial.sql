-- Tasks, lanes, attempts, handlers, sessions of workers, coordinators.

CREATE TABLE callboard_handlers (
    name         text PRIMARY KEY,
    queue        text,
    max_tries    integer CHECK (max_tries BETWEEN 1 AND 1000),
    timeout      double precision CHECK (timeout > 0),   -- seconds
    backoff      jsonb,
    args         jsonb NOT NULL DEFAULT '{}',
    declared_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A lane is a kind of task as one small integer. queue IS NULL: the queue that the handler declares,
-- else 'default', so that a task posted before its handler was ever declared needs no re-routing.
CREATE TABLE callboard_lanes (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text NOT NULL,
    queue         text,
    requirements  jsonb NOT NULL DEFAULT '{}'
);
CREATE UNIQUE INDEX callboard_lanes_key ON callboard_lanes (name, coalesce(queue, ''), requirements);

CREATE TABLE callboard_coordinators (
    id          text PRIMARY KEY,
    address     text NOT NULL,
    version     text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    seen_until  timestamptz NOT NULL
);

-- One row is one session: the right of one worker process to run what it was given.
CREATE TABLE callboard_workers (
    session_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    worker           text NOT NULL,            -- shown id: name and a random part
    name             text NOT NULL,
    secret_hash      bytea NOT NULL,
    coordinator_id   text NOT NULL,
    epoch            integer NOT NULL DEFAULT 1,
    state            text NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'draining', 'dead', 'closed')),
    lease_until      timestamptz NOT NULL,
    slots            integer NOT NULL CHECK (slots BETWEEN 1 AND 10000),
    queues           text[] NOT NULL DEFAULT '{}',
    handlers         text[] NOT NULL DEFAULT '{}',
    labels           jsonb NOT NULL DEFAULT '{}',
    version          text NOT NULL DEFAULT '',
    http_address     text,
    paused           boolean NOT NULL DEFAULT false,
    drain_requested  boolean NOT NULL DEFAULT false,
    health           jsonb NOT NULL DEFAULT '{}',
    connected_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_seen        timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at         timestamptz,
    swept            boolean NOT NULL DEFAULT false,   -- it has ended, and holds nothing any more for certain
    CHECK ((state IN ('dead', 'closed')) = (ended_at IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX callboard_workers_live ON callboard_workers (lease_until) WHERE state IN ('live', 'draining');
CREATE INDEX callboard_workers_unswept ON callboard_workers (session_id) WHERE state IN ('dead', 'closed') AND NOT swept;
CREATE INDEX callboard_workers_worker ON callboard_workers (worker);

CREATE TABLE callboard_tasks (
    id                   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane_id              integer NOT NULL,
    state                text NOT NULL DEFAULT 'queued' CHECK (state IN ('blocked', 'queued', 'assigned', 'running',
                             'succeeded', 'failed', 'cancelled', 'expired', 'quarantined')),
    priority             smallint NOT NULL DEFAULT 2 CHECK (priority BETWEEN 1 AND 4),
    attempt              integer NOT NULL DEFAULT 0,      -- assignments; the fencing token; never falls
    tries                smallint NOT NULL DEFAULT 0,
    crashes              smallint NOT NULL DEFAULT 0,
    undelivered          smallint NOT NULL DEFAULT 0,
    snoozes              integer NOT NULL DEFAULT 0,
    max_tries            smallint CHECK (max_tries BETWEEN 1 AND 1000),   -- NULL: as the handler declares
    exclusive            boolean NOT NULL DEFAULT false,
    retry_on_crash       boolean NOT NULL DEFAULT true,
    timeout              double precision CHECK (timeout > 0),            -- seconds; NULL: as the handler declares
    run_at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    assigned_at          timestamptz,
    started_at           timestamptz,
    finished_at          timestamptz,
    expires_at           timestamptz,
    cancel_requested_at  timestamptz,
    ack_by               timestamptz,       -- while assigned: NULL once the worker has accepted it
    exec_until           timestamptz,       -- while running with a timeout
    lease_key            uuid,              -- drawn once for each claim; a final row keeps it
    session_id           bigint,
    failed_in            bigint,            -- the session that failed it last: a retry goes to another one if it can
    result_hash          bigint,
    retry_of             bigint,
    args                 jsonb NOT NULL DEFAULT '{}',
    result               jsonb,
    error                jsonb,
    progress             jsonb,
    backoff              jsonb,
    tags                 text[] NOT NULL DEFAULT '{}',
    metadata             jsonb NOT NULL DEFAULT '{}',
    submitted_by         text,
    CHECK (state NOT IN ('assigned', 'running') OR lease_key IS NOT NULL AND session_id IS NOT NULL),
    CHECK (state NOT IN ('blocked', 'queued') OR lease_key IS NULL AND session_id IS NULL),
    CHECK (tries <= max_tries),
    CHECK ((state IN ('succeeded', 'failed', 'cancelled', 'expired', 'quarantined')) = (finished_at IS NOT NULL))
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1);

CREATE INDEX callboard_tasks_due ON callboard_tasks (lane_id, priority, run_at, id) WHERE state = 'queued';
-- A partial index costs a task what its predicate costs, and an entry only while it holds.
CREATE INDEX callboard_tasks_held ON callboard_tasks (session_id) WHERE state IN ('assigned', 'running');
CREATE INDEX callboard_tasks_unfinished_retry ON callboard_tasks (retry_of) WHERE retry_of IS NOT NULL;
CREATE INDEX callboard_tasks_lane ON callboard_tasks (lane_id, id);
CREATE INDEX callboard_tasks_expiring ON callboard_tasks (expires_at) WHERE state = 'queued' AND expires_at IS NOT NULL;
-- What a renewal reads to pass cancels on.
CREATE INDEX callboard_tasks_cancelling ON callboard_tasks (session_id)
    WHERE state IN ('assigned', 'running') AND cancel_requested_at IS NOT NULL;
-- What people look for among a million that succeeded.
CREATE INDEX callboard_tasks_set_aside ON callboard_tasks (state, id)
    WHERE state IN ('blocked', 'failed', 'cancelled', 'expired', 'quarantined');
-- Retention reads the oldest end, by kinds that are kept equally long.
CREATE INDEX callboard_tasks_succeeded ON callboard_tasks (finished_at) WHERE state = 'succeeded';
CREATE INDEX callboard_tasks_unsuccessful ON callboard_tasks (finished_at)
    WHERE state IN ('failed', 'cancelled', 'expired', 'quarantined');
CREATE INDEX callboard_tasks_tags ON callboard_tasks USING gin (tags) WHERE tags <> '{}';

-- One row for each attempt that ended otherwise than with success, and for each refused late outcome.
CREATE TABLE callboard_attempts (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task_id      bigint NOT NULL,
    attempt      integer NOT NULL,
    lease_key    uuid,
    outcome      text NOT NULL CHECK (outcome IN ('succeeded', 'failed', 'timed_out', 'cancelled', 'crashed', 'lost',
                     'released', 'refused', 'snoozed', 'undelivered')),
    accepted     boolean NOT NULL DEFAULT true,   -- false: a late outcome of a superseded attempt, kept as evidence
    outcome_hash bigint,
    session_id   bigint,
    assigned_at  timestamptz,
    started_at   timestamptz,
    ended_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    error        jsonb,
    evidence     jsonb
);
CREATE INDEX callboard_attempts_task ON callboard_attempts (task_id, attempt);
CREATE UNIQUE INDEX callboard_attempts_evidence ON callboard_attempts (task_id, attempt, lease_key, outcome_hash)
    WHERE NOT accepted;  -- each refused outcome once, however often it is sent

CREATE TABLE callboard_idempotency_keys (
    key           text PRIMARY KEY,
    request_hash  bytea NOT NULL,
    task_id       bigint NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX callboard_idempotency_keys_age ON callboard_idempotency_keys (created_at);

-- Final rows are final; the fencing token rises by one with each assignment and never otherwise; a held row keeps its
-- lease; no state is reached but by its moves. The WHEN clause keeps lawful updates free of any call.
-- Pruning deletes; it does not update.
CREATE FUNCTION callboard_refuse_illegal_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'callboard: illegal change of task % (% attempt % to % attempt %)',
        OLD.id, OLD.state, OLD.attempt, NEW.state, NEW.attempt USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER callboard_tasks_legality BEFORE UPDATE ON callboard_tasks FOR EACH ROW
    WHEN (OLD.finished_at IS NOT NULL OR OLD.id <> NEW.id
          OR NEW.attempt <> OLD.attempt + (OLD.state = 'queued' AND NEW.state = 'assigned')::int
          OR CASE OLD.state
                 WHEN 'queued' THEN NEW.state NOT IN ('queued', 'assigned', 'cancelled', 'expired', 'quarantined')
                 WHEN 'blocked' THEN NEW.state NOT IN ('blocked', 'queued', 'cancelled', 'expired')
                 ELSE NEW.state IN ('blocked', 'expired') OR OLD.state = 'running' AND NEW.state = 'assigned'
                      OR NEW.state IN ('assigned', 'running')
                         AND (NEW.lease_key <> OLD.lease_key OR NEW.session_id <> OLD.session_id) END)
    EXECUTE FUNCTION callboard_refuse_illegal_change();

-- Seconds to wait after the given number of used tries; see actors/model/retry.py.
CREATE FUNCTION callboard_backoff(backoff jsonb, tries integer) RETURNS double precision
LANGUAGE sql VOLATILE AS $$
    SELECT CASE WHEN coalesce((backoff->>'jitter')::boolean, true) THEN random() ELSE 1 END
         * least(coalesce((backoff->>'cap')::float8, 3600),
                 coalesce((backoff->>'base')::float8, 1)
                 * CASE WHEN backoff->>'kind' = 'fixed' THEN 1 ELSE power(2, least(tries - 1, 62)) END)
$$;

-- Workers or executors that died under a task within the time that makes it poison.
CREATE FUNCTION callboard_recent_crashes(task bigint) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT count(*)::int FROM callboard_attempts
    WHERE task_id = task AND outcome IN ('crashed', 'lost') AND accepted AND ended_at > clock_timestamp() - interval '72 hours'
$$;

-- Turns of a claim for its tasks, in order: a task that a session failed gets another session's turn, exchanged with a
-- later or an earlier task, or one that is left over. 0: there is none. $1 who failed each task, $2 whose turns these are.
CREATE FUNCTION callboard_turns(failed_in bigint[], sessions bigint[]) RETURNS integer[]
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    turns integer[];
    count integer := cardinality(failed_in);
    mine bigint;
    turn integer;
    found integer;
BEGIN
    SELECT array_agg(n) INTO turns FROM generate_series(1, cardinality(sessions)) AS n;
    FOR place IN 1..count LOOP
        turn := turns[place];
        mine := sessions[turn];
        CONTINUE WHEN failed_in[place] IS DISTINCT FROM mine;
        SELECT other INTO found FROM generate_series(1, cardinality(turns)) AS other
        WHERE sessions[turns[other]] <> mine AND (other > count OR failed_in[other] IS DISTINCT FROM mine)
        ORDER BY abs(other - place) LIMIT 1;
        turns[place] := coalesce(turns[found], 0);
        IF found IS NOT NULL THEN
            turns[found] := turn;
        END IF;
    END LOOP;
    RETURN turns;
END $$;
