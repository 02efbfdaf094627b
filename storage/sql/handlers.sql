SELECT coalesce(h.name, p.name) AS name, h.queue, h.max_tries, h.timeout, p.paused_at, p.reason AS paused_reason,
       EXISTS (SELECT FROM callboard_workers w WHERE w.state = 'live' AND w.lease_until > clock_timestamp()
               AND coalesce(h.name, p.name) = ANY (w.handlers)) AS live
FROM callboard_handlers h FULL JOIN callboard_paused_names p ON p.name = h.name
ORDER BY 1
