INSERT INTO callboard_handlers AS h (name, queue, max_tries, timeout, backoff, args)
SELECT name, queue, max_tries, timeout, backoff::jsonb, args::jsonb
FROM unnest($1::text[], $2::text[], $3::int[], $4::float8[], $5::text[], $6::text[]) AS u (name, queue, max_tries, timeout, backoff, args)
ORDER BY name
ON CONFLICT (name) DO UPDATE
SET queue = excluded.queue, max_tries = excluded.max_tries, timeout = excluded.timeout, backoff = excluded.backoff,
    args = excluded.args, declared_at = clock_timestamp()
WHERE (h.queue, h.max_tries, h.timeout, h.backoff, h.args)
      IS DISTINCT FROM (excluded.queue, excluded.max_tries, excluded.timeout, excluded.backoff, excluded.args)
