-- T0. One row a place; a place whose idempotency key was known already is not stored (the second statement reads it).
-- $1 lanes, $2 args, $3 priorities, $4 run_at, $5 delays (s), $6 timeouts, $7 max_tries, $8 backoffs, $9 expires_at,
-- $10 exclusive, $11 retry_on_crash, $12 tags (JSON arrays), $13 metadata, $14 retry_of, $15 submitted_by, $16 keys, $17 hashes,
-- $18 channel of due tasks, $19 tries that hold when nobody says otherwise, $20 schedules that post them, $21 what few have (JSON objects)
WITH given AS MATERIALIZED (
    SELECT *, nextval(pg_get_serial_sequence('callboard_tasks', 'id')) AS id
    FROM unnest($1::int[], $2::text[], $3::smallint[], $4::timestamptz[], $5::float8[], $6::float8[], $7::smallint[],
                $8::text[], $9::timestamptz[], $10::boolean[], $11::boolean[], $12::text[], $13::text[], $14::bigint[],
                $15::text[], $16::text[], $17::bytea[], $20::bigint[], $21::text[]) WITH ORDINALITY
      AS g (lane, args, priority, run_at, delay, timeout, max_tries, backoff, expires_at, exclusive, retry_on_crash,
            tags, metadata, retry_of, submitted_by, key, hash, schedule, more, n)
), keyed AS (
    INSERT INTO callboard_idempotency_keys (key, request_hash, task_id)
    SELECT DISTINCT ON (key) key, hash, id FROM given WHERE key IS NOT NULL ORDER BY key, n
    ON CONFLICT (key) DO NOTHING
    RETURNING task_id
), stored AS (
    INSERT INTO callboard_tasks (id, lane_id, args, priority, run_at, timeout, max_tries, backoff, expires_at, exclusive,
                                 retry_on_crash, tags, metadata, retry_of, submitted_by, schedule_id, state,
                                 concurrency_key, affinity_key, unique_key, weight, parents, parents_left, workflow_id,
                                 has_children, inputs)
    OVERRIDING SYSTEM VALUE
    SELECT id, lane, args::jsonb, priority,
           coalesce(run_at, clock_timestamp() + make_interval(secs => coalesce(delay, 0))),
           timeout, max_tries, backoff::jsonb, expires_at, exclusive, retry_on_crash,
           CASE WHEN tags = '[]' THEN '{}' ELSE ARRAY (SELECT jsonb_array_elements_text(tags::jsonb)) END,
           metadata::jsonb, retry_of, submitted_by, schedule,
           CASE WHEN (x.more->>'parents_left')::int > 0 THEN 'blocked' ELSE 'queued' END,
           x.more->>'concurrency_key', x.more->>'affinity_key', x.more->>'unique_key', coalesce((x.more->>'weight')::smallint, 1),
           coalesce((x.more->>'parents')::int, 0), coalesce((x.more->>'parents_left')::int, 0), (x.more->>'workflow_id')::bigint,
           coalesce((x.more->>'has_children')::boolean, false), x.more->>'inputs'
    FROM given CROSS JOIN LATERAL (SELECT given.more::jsonb AS more) x
    WHERE key IS NULL OR id IN (SELECT task_id FROM keyed)
    RETURNING id, run_at, created_at, state
), told AS (  -- one notification a group, at the commit
    SELECT pg_notify($18, '') FROM (SELECT FROM stored WHERE run_at <= clock_timestamp() AND state = 'queued' LIMIT 1) AS due
), first AS (  -- how a task looks at first; only for those who post few
    SELECT array_agg(s.run_at ORDER BY g.n) AS run_at, array_agg(s.created_at ORDER BY g.n) AS created_at,
           array_agg(coalesce(l.queue, h.queue, 'default') ORDER BY g.n) AS queues,
           array_agg(coalesce(g.max_tries, h.max_tries, $19::int) ORDER BY g.n) AS max_tries
    FROM given g JOIN stored s ON s.id = g.id JOIN callboard_lanes l ON l.id = g.lane
    LEFT JOIN callboard_handlers h ON h.name = l.name
    WHERE cardinality($1) <= 100
)
SELECT (SELECT array_agg(id ORDER BY n) FROM given) AS ids,  -- no join: it would grow with the square
       (SELECT array_agg(id) FROM stored) AS stored,
       (SELECT count(*) FROM told) > 0 AS due, first.*
FROM first
