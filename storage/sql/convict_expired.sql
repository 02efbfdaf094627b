-- Leases that ran out; and a lease that lies impossibly far ahead (the clock stepped back) is clamped.
WITH clamped AS (
    UPDATE callboard_workers SET lease_until = clock_timestamp() + make_interval(secs => $1)
    WHERE state IN ('live', 'draining') AND lease_until > clock_timestamp() + make_interval(secs => $1 + 2)
), expired AS (
    SELECT session_id FROM callboard_workers
    WHERE state IN ('live', 'draining') AND lease_until < clock_timestamp()
    ORDER BY session_id LIMIT 100 FOR UPDATE SKIP LOCKED
)
UPDATE callboard_workers w SET state = 'dead', ended_at = clock_timestamp()
FROM expired WHERE w.session_id = expired.session_id
RETURNING w.session_id
