-- $1 name, $2 fields to set, $3 concurrency, $4 concurrency of a key, $5 rate limit, $6 its period (s), $7 rate limit of a key,
-- $8 its period (s), $9 whether to pause, $10 why, $11 seconds to keep succeeded tasks, $12 and the others.
INSERT INTO callboard_queues AS q (name, concurrency, concurrency_per_key, rate_limit, rate_period, key_rate_limit, key_rate_period,
                                   paused, paused_reason, paused_at, keep_succeeded, keep_unsuccessful, limited_at)
VALUES ($1, $3, $4, $5, $6, $7, $8, $9, $10, CASE WHEN $9 THEN clock_timestamp() END, $11, $12, clock_timestamp())
ON CONFLICT (name) DO UPDATE SET
    concurrency = CASE WHEN 'concurrency' = ANY ($2::text[]) THEN excluded.concurrency ELSE q.concurrency END,
    concurrency_per_key = CASE WHEN 'concurrency_per_key' = ANY ($2::text[]) THEN excluded.concurrency_per_key ELSE q.concurrency_per_key END,
    rate_limit = CASE WHEN 'rate' = ANY ($2::text[]) THEN excluded.rate_limit ELSE q.rate_limit END,
    rate_period = CASE WHEN 'rate' = ANY ($2::text[]) THEN excluded.rate_period ELSE q.rate_period END,
    key_rate_limit = CASE WHEN 'rate_per_key' = ANY ($2::text[]) THEN excluded.key_rate_limit ELSE q.key_rate_limit END,
    key_rate_period = CASE WHEN 'rate_per_key' = ANY ($2::text[]) THEN excluded.key_rate_period ELSE q.key_rate_period END,
    paused = CASE WHEN 'paused' = ANY ($2::text[]) THEN excluded.paused ELSE q.paused END,
    paused_reason = CASE WHEN 'paused' = ANY ($2::text[]) THEN excluded.paused_reason ELSE q.paused_reason END,
    paused_at = CASE WHEN 'paused' = ANY ($2::text[]) THEN CASE WHEN excluded.paused THEN coalesce(q.paused_at, excluded.paused_at) END
                     ELSE q.paused_at END,
    keep_succeeded = CASE WHEN 'keep_succeeded' = ANY ($2::text[]) THEN excluded.keep_succeeded ELSE q.keep_succeeded END,
    keep_unsuccessful = CASE WHEN 'keep_unsuccessful' = ANY ($2::text[]) THEN excluded.keep_unsuccessful ELSE q.keep_unsuccessful END,
    limited_at = excluded.limited_at, updated_at = clock_timestamp()
