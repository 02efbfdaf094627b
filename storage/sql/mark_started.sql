-- T2. $4 timeout that holds when neither task nor handler says one.
UPDATE callboard_tasks t
SET state = 'running', started_at = clock_timestamp(), ack_by = NULL,
    exec_until = (SELECT clock_timestamp() + make_interval(secs => least(own.seconds, 2000000))
                  FROM (SELECT coalesce(t.timeout, h.timeout, $4::float8) AS seconds
                        FROM callboard_lanes l LEFT JOIN callboard_handlers h ON h.name = l.name WHERE l.id = t.lane_id) own
                  WHERE own.seconds IS NOT NULL)  -- least() would take NULL for none
FROM unnest($1::bigint[], $2::int[], $3::uuid[]) AS o (id, attempt, key)
WHERE t.id = o.id AND t.attempt = o.attempt AND t.lease_key = o.key AND (t.state = 'assigned') IS NOT FALSE
