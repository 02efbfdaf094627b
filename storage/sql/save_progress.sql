-- The newest progress of attempts that are still out. $1 ids, $2 attempts, $3 values.
UPDATE callboard_tasks t SET progress = o.value::jsonb
FROM unnest($1::bigint[], $2::int[], $3::text[]) AS o (id, attempt, value)
WHERE t.id = o.id AND t.attempt = o.attempt AND (t.state IN ('assigned', 'running')) IS NOT FALSE
