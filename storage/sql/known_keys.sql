SELECT u.n::int AS n, k.task_id, k.request_hash IS NOT DISTINCT FROM u.hash AS same
FROM unnest($1::text[], $2::bytea[]) WITH ORDINALITY AS u (key, hash, n)
JOIN callboard_idempotency_keys k ON k.key = u.key
