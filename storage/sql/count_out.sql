-- What is out and started, of queues; under their locks. $1 queues, $2 periods of their rates (s)
SELECT q.name, coalesce(o.weight, 0)::int AS out, coalesce(r.count, 0)::int AS started,
       extract(epoch FROM r.until + make_interval(secs => q.period) - clock_timestamp())::float8 AS refill
FROM unnest($1::text[], $2::float8[]) WITH ORDINALITY AS q (name, period, n)
LEFT JOIN LATERAL (
    SELECT sum(t.weight) AS weight FROM callboard_tasks t
    WHERE t.counted = q.name AND t.state IN ('assigned', 'running')
) o ON true
LEFT JOIN LATERAL (
    SELECT sum(r.count) AS count, min(r.until) AS until FROM callboard_rates r
    WHERE r.queue = q.name AND r.key = '' AND r.until > clock_timestamp() - make_interval(secs => q.period)
) r ON true
ORDER BY q.n
