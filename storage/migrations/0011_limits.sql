-- oldest: 0001
-- Limits count what is out, never what somebody says is out: a crash leaks nothing.

ALTER TABLE callboard_tasks ADD COLUMN counted text;   -- while it is out: the queue whose limits count it
CREATE INDEX callboard_tasks_counted ON callboard_tasks (counted, concurrency_key) INCLUDE (weight)
    WHERE state IN ('assigned', 'running') AND counted IS NOT NULL;
-- Keys take turns along it.
CREATE INDEX callboard_tasks_keyed ON callboard_tasks (lane_id, concurrency_key, priority, run_at, id)
    WHERE state = 'queued' AND concurrency_key IS NOT NULL;

-- Starts of queues with rates, of each of their keys, and of the queue under the key ''.
CREATE TABLE callboard_rates (
    queue  text NOT NULL,
    key    text NOT NULL,
    until  timestamptz NOT NULL,   -- the end of the part of a period in which they started
    gone   timestamptz NOT NULL,   -- when no window reaches it any more
    count  integer NOT NULL,
    PRIMARY KEY (queue, key, until)
);
CREATE INDEX callboard_rates_gone ON callboard_rates (gone);

CREATE FUNCTION callboard_queue_of(lane callboard_lanes) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(lane.queue, (SELECT h.queue FROM callboard_handlers h WHERE h.name = lane.name), 'default')
$$;

-- Whether the usual claim leaves it alone.
CREATE FUNCTION callboard_is_special(lane callboard_lanes) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT lane.placed
        OR EXISTS (SELECT FROM callboard_queues q WHERE q.name = callboard_queue_of(lane) AND (q.limited OR q.paused))
        OR EXISTS (SELECT FROM callboard_paused_names p WHERE p.name = lane.name)
$$;

-- Sessions, of any coordinator, that could run tasks of a lane.
CREATE FUNCTION callboard_serving(lane integer) RETURNS bigint[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(w.session_id), '{}') FROM callboard_lanes l
    JOIN callboard_workers w ON w.state = 'live' AND NOT w.paused AND NOT w.drain_requested
        AND w.lease_until > clock_timestamp() AND l.name = ANY (w.handlers) AND w.labels @> l.requirements
        AND (w.queues = '{}' OR callboard_queue_of(l) = ANY (w.queues))
    WHERE l.id = lane
$$;

-- The session that tasks of an affinity key go to: the same one for as long as it is there, another one for few keys when
-- one comes or goes (rendezvous hashing, Thaler and Ravishankar 1996).
CREATE FUNCTION callboard_preferred(affinity_key text, sessions bigint[]) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT s FROM unnest(sessions) AS s ORDER BY hashtextextended(affinity_key, s) DESC, s LIMIT 1
$$;

-- The first key after this one with tasks that wait in these lanes.
CREATE FUNCTION callboard_next_key(lanes integer[], after text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT min(x.key) FROM unnest(lanes) AS lane (id)
    CROSS JOIN LATERAL (SELECT t.concurrency_key AS key FROM callboard_tasks t
                        WHERE t.lane_id = lane.id AND t.state = 'queued' AND t.concurrency_key > after
                        ORDER BY t.concurrency_key LIMIT 1) x
$$;
