-- Starts that count for rates, by fiftieths of a period. $1 queues, $2 keys, $3 counts, $4 periods (s)
INSERT INTO callboard_rates (queue, key, until, gone, count)
SELECT s.queue, s.key, s.until, s.until + make_interval(secs => 2 * s.period), s.count
FROM (SELECT u.*, to_timestamp((floor(extract(epoch FROM clock_timestamp()) * 50 / u.period) + 1) * u.period / 50) AS until
      FROM unnest($1::text[], $2::text[], $3::int[], $4::float8[]) AS u (queue, key, count, period)) s
ON CONFLICT (queue, key, until) DO UPDATE SET count = callboard_rates.count + excluded.count
