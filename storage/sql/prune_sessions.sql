-- A session that ended long enough ago for every claim to be over, and holds nothing, need not be swept again;
-- 30 days later it goes.
WITH swept AS (
    UPDATE callboard_workers w SET swept = true
    WHERE w.state IN ('dead', 'closed') AND NOT w.swept AND w.ended_at < clock_timestamp() - interval '10 minutes'
      AND NOT EXISTS (SELECT FROM callboard_tasks t WHERE t.session_id = w.session_id AND t.state IN ('assigned', 'running'))
)
DELETE FROM callboard_workers WHERE swept AND state IN ('dead', 'closed') AND ended_at < clock_timestamp() - interval '30 days'
