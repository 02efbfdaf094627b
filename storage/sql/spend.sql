-- Starts that count for rates; what no window reaches any more goes. $1 queues, $2 keys, $3 counts, $4 periods (s)
WITH spent AS (
    SELECT u.queue, u.key, u.count, u.period, to_timestamp((floor(extract(epoch FROM clock_timestamp()) * 50 / u.period) + 1) * u.period / 50) AS until
    FROM unnest($1::text[], $2::text[], $3::int[], $4::float8[]) AS u (queue, key, count, period)
), gone AS (
    DELETE FROM callboard_rates r USING spent s
    WHERE r.queue = s.queue AND r.key = s.key AND r.until < clock_timestamp() - make_interval(secs => 2 * s.period)
)
INSERT INTO callboard_rates (queue, key, until, count) SELECT queue, key, until, count FROM spent
ON CONFLICT (queue, key, until) DO UPDATE SET count = callboard_rates.count + excluded.count
