-- T3. $1 ids, $2 attempts, $3 lease keys, $4 results. Returns the places of those accepted, whether others depend on any,
-- and whether limits counted any.
WITH done AS (
    UPDATE callboard_tasks t
    SET state = 'succeeded', result = nullif(o.body, '')::jsonb, result_hash = hashtextextended('0' || o.body, 0),
        finished_at = clock_timestamp(), started_at = coalesce(t.started_at, t.assigned_at), error = NULL,
        ack_by = NULL, exec_until = NULL
    FROM unnest($1::bigint[], $2::int[], $3::uuid[], $4::text[]) WITH ORDINALITY AS o (id, attempt, key, body, n)
    WHERE t.id = o.id AND t.attempt = o.attempt AND t.lease_key = o.key AND (t.state IN ('assigned', 'running')) IS NOT FALSE
    RETURNING o.n, t.has_children, t.counted IS NOT NULL AS counted
)
SELECT array_agg(n::int), bool_or(has_children), bool_or(counted) FROM done
