-- oldest: 0001
-- Posts a task inside the caller's own transaction: it is there with the commit, and not without it. As POST /tasks.
-- The id of the task; of the one that is there already where idempotency_key or unique_key say so.

CREATE FUNCTION callboard_stored_backoff(given jsonb) RETURNS jsonb LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    made jsonb := jsonb_build_object('kind', 'exponential', 'base', 1, 'cap', 3600, 'jitter', true);
BEGIN
    IF jsonb_typeof(given) = 'number' THEN
        made := jsonb_build_object('kind', 'fixed', 'base', given, 'cap', given, 'jitter', false);
    ELSIF jsonb_typeof(given) = 'object' AND NOT EXISTS (SELECT FROM jsonb_object_keys(given) AS k WHERE NOT made ? k) THEN
        made := made || given;
    ELSIF given IS NOT NULL THEN
        PERFORM callboard_refuse('backoff', 'must be a number of seconds, or an object of kind, base, cap and jitter');
    END IF;
    IF jsonb_typeof(made->'base') <> 'number' OR jsonb_typeof(made->'cap') <> 'number' OR jsonb_typeof(made->'jitter') <> 'boolean'
       OR coalesce(made->>'kind', '') NOT IN ('exponential', 'fixed')
       OR NOT ((made->>'base')::float8 BETWEEN 0 AND 2592000 AND (made->>'cap')::float8 BETWEEN (made->>'base')::float8 AND 2592000) THEN
        PERFORM callboard_refuse('backoff', format('%s: kind is exponential or fixed, base from 0 and cap from base to 2592000 seconds, jitter true or false', given));
    END IF;
    RETURN CASE WHEN given IS NOT NULL THEN made END;
END $$;

-- Locks a unique key until the commit, then looks who has it, and locks that task; both NULL where it is free.
CREATE FUNCTION callboard_unique_holder(unique_key text, OUT task bigint, OUT waits boolean)
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('callboard unique ' || unique_key, 0));
    SELECT t.id, t.state IN ('queued', 'blocked') INTO task, waits
    FROM callboard_unique_keys u JOIN callboard_tasks t ON t.id = u.task_id
    WHERE u.key = callboard_unique_holder.unique_key
      AND CASE u.until WHEN 'finished' THEN t.finished_at IS NULL
                       WHEN 'started' THEN t.finished_at IS NULL AND t.attempt = 0
                       ELSE u.expires_at > clock_timestamp() END
    FOR UPDATE OF t;
END $$;

-- Enters who has a unique key, in the place of a task that waits if there is one.
CREATE FUNCTION callboard_hold_unique(unique_key text, unique_until text, task bigint, replaced bigint) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    named boolean := unique_until IN ('started', 'finished');
BEGIN
    INSERT INTO callboard_unique_keys (key, task_id, until, expires_at)
    VALUES (unique_key, task, CASE WHEN named THEN unique_until ELSE 'period' END,
            CASE WHEN NOT named THEN clock_timestamp() + make_interval(secs => unique_until::float8) END)
    ON CONFLICT (key) DO UPDATE SET task_id = excluded.task_id, until = excluded.until, expires_at = excluded.expires_at;
    UPDATE callboard_tasks t
    SET state = 'cancelled', finished_at = clock_timestamp(),
        error = jsonb_build_object('type', 'Replaced', 'message', format('task %s took its place', task), 'traceback', NULL)
    WHERE t.id = replaced AND t.state IN ('queued', 'blocked');
    IF FOUND THEN
        PERFORM pg_notify(callboard_channel('final'), '');
    END IF;
END $$;

-- Locks the tasks that others will depend on, so that none of them ends unnoticed.
CREATE FUNCTION callboard_lock_parents(depends_on bigint[]) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    missing bigint;
BEGIN
    PERFORM FROM callboard_tasks t WHERE t.id = ANY (depends_on) ORDER BY t.id FOR NO KEY UPDATE;
    SELECT p INTO missing FROM unnest(depends_on) AS p WHERE NOT EXISTS (SELECT FROM callboard_tasks t WHERE t.id = p) LIMIT 1;
    IF FOUND THEN
        PERFORM callboard_refuse('depends_on', format('task %s does not exist, or was pruned: depend on one that is there', coalesce(missing::text, 'NULL')));
    END IF;
    UPDATE callboard_tasks t SET has_children = true WHERE t.id = ANY (depends_on) AND t.finished_at IS NULL AND NOT t.has_children;
END $$;

-- Enters the edges of a child whose parents are locked.
CREATE FUNCTION callboard_connect(task bigint, depends_on bigint[], on_parent_failure text) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO callboard_dependencies (child_id, parent_id, cancels, settled)
    SELECT task, t.id, on_parent_failure = 'cancel', t.finished_at IS NOT NULL AND (t.state = 'succeeded' OR on_parent_failure = 'run')
    FROM callboard_tasks t WHERE t.id = ANY (depends_on);
    INSERT INTO callboard_finished_parents (task_id)
    SELECT d.parent_id FROM callboard_dependencies d JOIN callboard_tasks t ON t.id = d.parent_id
    WHERE d.child_id = task AND NOT d.settled AND t.finished_at IS NOT NULL
    ON CONFLICT DO NOTHING;
    IF FOUND THEN
        PERFORM pg_notify(callboard_channel('parents'), '');
    END IF;
END $$;

CREATE FUNCTION callboard_submit(
    name text, args jsonb DEFAULT '{}', queue text DEFAULT NULL, priority integer DEFAULT 2,
    run_at timestamptz DEFAULT NULL, delay double precision DEFAULT NULL, timeout double precision DEFAULT NULL,
    max_tries integer DEFAULT NULL, backoff jsonb DEFAULT NULL, expires_at timestamptz DEFAULT NULL,
    exclusive boolean DEFAULT false, retry_on_crash boolean DEFAULT true, tags text[] DEFAULT '{}', metadata jsonb DEFAULT '{}',
    requirements jsonb DEFAULT '{}', concurrency_key text DEFAULT NULL, weight integer DEFAULT 1, affinity_key text DEFAULT NULL,
    unique_key text DEFAULT NULL, unique_until text DEFAULT NULL, on_duplicate text DEFAULT NULL,
    depends_on bigint[] DEFAULT '{}', on_parent_failure text DEFAULT NULL, inputs text DEFAULT NULL,
    idempotency_key text DEFAULT NULL, submitted_by text DEFAULT NULL
) RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_variable
DECLARE
    now timestamptz := clock_timestamp();
    start timestamptz;
    hash bytea;
    known callboard_idempotency_keys;
    made bigint;
    holder record;
    parents integer := cardinality(coalesce(depends_on, '{}'));
    waits_for integer := 0;
BEGIN
    PERFORM callboard_check_name('name', name);
    IF queue IS NOT NULL THEN
        PERFORM callboard_check_name('queue', queue);
    END IF;
    IF args IS NULL OR jsonb_typeof(args) <> 'object' THEN
        PERFORM callboard_refuse('args', format('must be a JSON object, not %s', coalesce(jsonb_typeof(args), 'NULL')));
    ELSIF octet_length(args::text) > 262144 THEN
        PERFORM callboard_refuse('args', format('%s bytes; at most 262144 (256 KiB) are kept: store it elsewhere', octet_length(args::text)));
    END IF;
    PERFORM callboard_check_number('priority', coalesce(priority, 0), 1, 4), callboard_check_number('max_tries', max_tries, 1, 1000),
            callboard_check_number('timeout', timeout, 1e-3, 86400), callboard_check_number('weight', coalesce(weight, 0), 1, 1000),
            callboard_check_number('delay', delay, 0, 315619200),
            callboard_check_text('concurrency_key', concurrency_key, 200), callboard_check_text('affinity_key', affinity_key, 200),
            callboard_check_text('unique_key', unique_key, 200), callboard_check_text('inputs', inputs, 200),
            callboard_check_texts('metadata', metadata, 64), callboard_check_texts('requirements', requirements, 16);
    start := coalesce(run_at, now + make_interval(secs => coalesce(delay, 0)));
    IF run_at IS NOT NULL AND delay IS NOT NULL THEN
        PERFORM callboard_refuse('delay', 'and run_at exclude each other: give one of them');
    ELSIF start NOT BETWEEN now - interval '24 hours' AND now + interval '3653 days' THEN
        PERFORM callboard_refuse('run_at', format('%s is more than 24 hours ago or more than ten years ahead', start));
    ELSIF expires_at <= greatest(start, now) THEN
        PERFORM callboard_refuse('expires_at', 'must be after run_at, and in the future: such a task would never start');
    ELSIF cardinality(tags) > 32 OR EXISTS (SELECT FROM unnest(tags) AS t (tag) WHERE tag IS NULL OR length(tag) NOT BETWEEN 1 AND 128) THEN
        PERFORM callboard_refuse('tags', 'must be at most 32, of 1 to 128 characters each');
    ELSIF idempotency_key !~ '^[\x21-\x7e]{1,255}$' THEN
        PERFORM callboard_refuse('idempotency_key', 'must have 1 to 255 printable ASCII characters without spaces');
    ELSIF unique_key IS NULL AND coalesce(unique_until, on_duplicate) IS NOT NULL THEN
        PERFORM callboard_refuse(CASE WHEN unique_until IS NOT NULL THEN 'unique_until' ELSE 'on_duplicate' END,
                                 'means something beside unique_key only: give one, or leave this out');
    ELSIF parents = 0 AND on_parent_failure IS NOT NULL THEN
        PERFORM callboard_refuse('on_parent_failure', 'means something beside depends_on only: give some, or leave this out');
    ELSIF parents = 0 AND inputs IS NOT NULL THEN
        PERFORM callboard_refuse('inputs', 'means something beside depends_on only: give some, or leave this out');
    ELSIF unique_until NOT IN ('started', 'finished') AND NOT coalesce(
          substring(unique_until FROM '^[0-9]{1,9}(?:[.][0-9]{1,9})?$')::float8 BETWEEN 1e-9 AND 315619200, false) THEN
        PERFORM callboard_refuse('unique_until', format('must be started, finished or a number of seconds from above 0 to 315619200, got %L', left(unique_until, 64)));
    ELSIF on_duplicate NOT IN ('existing', 'replace') THEN
        PERFORM callboard_refuse('on_duplicate', format('must be existing or replace, got %L', left(on_duplicate, 64)));
    ELSIF on_parent_failure NOT IN ('cancel', 'run') THEN
        PERFORM callboard_refuse('on_parent_failure', format('must be cancel or run, got %L', left(on_parent_failure, 64)));
    ELSIF parents > 10000 THEN
        PERFORM callboard_refuse('depends_on', format('must have at most 10000 items, got %s', parents));
    END IF;
    made := nextval(pg_get_serial_sequence('callboard_tasks', 'id'));
    IF idempotency_key IS NOT NULL THEN
        hash := sha256(convert_to(jsonb_build_array(name, args, queue, priority, run_at, delay, timeout, max_tries, backoff, expires_at,
                exclusive, retry_on_crash, tags, metadata, requirements, concurrency_key, weight, affinity_key,
                unique_key, unique_until, on_duplicate, depends_on, on_parent_failure, inputs)::text, 'UTF8'));
        INSERT INTO callboard_idempotency_keys (key, request_hash, task_id) VALUES (idempotency_key, hash, made) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            SELECT k.* INTO known FROM callboard_idempotency_keys k WHERE k.key = idempotency_key;
            IF known.request_hash IS DISTINCT FROM hash THEN
                PERFORM callboard_refuse('idempotency_key', format('%L was used for another task, %s: use a new key for a new task', left(idempotency_key, 64), known.task_id));
            END IF;
            RETURN known.task_id;
        END IF;
    END IF;
    IF unique_key IS NOT NULL THEN
        SELECT * INTO holder FROM callboard_unique_holder(unique_key);
        IF holder.task IS NOT NULL AND on_duplicate IS DISTINCT FROM 'replace' THEN
            UPDATE callboard_idempotency_keys k SET task_id = holder.task WHERE k.key = idempotency_key;
            RETURN holder.task;
        END IF;
    END IF;
    IF parents > 0 THEN
        PERFORM callboard_lock_parents(depends_on);
        SELECT count(*), count(*) FILTER (WHERE t.finished_at IS NULL OR t.state <> 'succeeded' AND on_parent_failure IS DISTINCT FROM 'run')
        INTO parents, waits_for FROM callboard_tasks t WHERE t.id = ANY (depends_on);
    END IF;
    INSERT INTO callboard_tasks (id, lane_id, args, priority, run_at, timeout, max_tries, backoff, expires_at, exclusive, retry_on_crash,
                                 tags, metadata, concurrency_key, weight, affinity_key, submitted_by, unique_key, parents, parents_left, inputs, state)
    OVERRIDING SYSTEM VALUE VALUES (
        made, callboard_lane(name, queue, coalesce(requirements, '{}'), concurrency_key IS NOT NULL, weight > 1 OR affinity_key IS NOT NULL),
        args, priority, start, timeout, max_tries, callboard_stored_backoff(backoff), expires_at, coalesce(exclusive, false), coalesce(retry_on_crash, true),
        coalesce(tags, '{}'), coalesce(metadata, '{}'), concurrency_key, weight, affinity_key, submitted_by, unique_key,
        parents, waits_for, inputs, CASE WHEN waits_for > 0 THEN 'blocked' ELSE 'queued' END);
    IF unique_key IS NOT NULL THEN
        PERFORM callboard_hold_unique(unique_key, coalesce(unique_until, 'finished'), made, CASE WHEN holder.waits THEN holder.task END);
    END IF;
    IF parents > 0 THEN
        PERFORM callboard_connect(made, depends_on, coalesce(on_parent_failure, 'cancel'));
        PERFORM callboard_give_inputs(ARRAY[made]);
    END IF;
    IF start <= now AND waits_for = 0 THEN
        PERFORM pg_notify(callboard_channel('due'), '');
    END IF;
    RETURN made;
END $$;
