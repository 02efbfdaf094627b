-- Closes the acknowledgement window of what the worker has taken and not finished.
UPDATE callboard_tasks t SET ack_by = NULL
FROM unnest($1::bigint[], $2::int[], $3::uuid[]) AS o (id, attempt, key)
WHERE t.id = o.id AND t.attempt = o.attempt AND t.lease_key = o.key AND (t.state = 'assigned') IS NOT FALSE
  AND t.ack_by IS NOT NULL
