-- $4 database time after which it is too late to judge: a server that froze answers what it was asked before.
-- After the grace. A session that resumed has another epoch; one that holds an exclusive task waits for its lease.
UPDATE callboard_workers w SET state = 'dead', ended_at = clock_timestamp()
FROM unnest($1::bigint[], $2::int[]) AS a (session_id, epoch)
WHERE w.session_id = a.session_id AND w.epoch = a.epoch AND w.coordinator_id = $3 AND w.state IN ('live', 'draining')
  AND clock_timestamp() <= coalesce(to_timestamp($4::float8), 'infinity')
  AND NOT EXISTS (SELECT FROM callboard_tasks t WHERE t.session_id = w.session_id AND t.state IN ('assigned', 'running') AND t.exclusive)
RETURNING w.session_id
