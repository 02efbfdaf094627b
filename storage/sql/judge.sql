-- Of outcomes that changed nothing: were they accepted before? A statement of its own, because in the statement
-- of the update a concurrent duplicate would not be seen. The others are kept as evidence, once each.
-- $1 ids, $2 attempts, $3 lease keys, $4 kinds, $5 bodies, $6 kinds and $7 bodies that stand for those that could not be stored.
WITH o AS MATERIALIZED (
    SELECT *, hashtextextended(kind::text || body, 0) AS hash, hashtextextended(other_kind::text || other, 0) AS other_hash
    FROM unnest($1::bigint[], $2::int[], $3::uuid[], $4::int[], $5::text[], $6::int[], $7::text[]) WITH ORDINALITY
      AS u (id, attempt, key, kind, body, other_kind, other, n)
), judged AS MATERIALIZED (
    SELECT o.*, EXISTS (SELECT FROM callboard_tasks t WHERE t.id = o.id AND t.attempt = o.attempt AND t.lease_key = o.key
                        AND (t.finished_at IS NOT NULL) IS NOT FALSE AND t.result_hash IN (o.hash, o.other_hash))
             OR EXISTS (SELECT FROM callboard_attempts a WHERE a.task_id = o.id AND a.attempt = o.attempt
                        AND a.lease_key = o.key AND a.outcome_hash IN (o.hash, o.other_hash) AND a.accepted) AS before
    FROM o
), evidence AS (
    INSERT INTO callboard_attempts (task_id, attempt, lease_key, outcome, accepted, outcome_hash, session_id, error, evidence)
    SELECT DISTINCT ON (j.id, j.attempt, j.key, j.hash) j.id, j.attempt, j.key,
           (ARRAY['succeeded', 'failed', 'failed', 'timed_out', 'cancelled', 'crashed', 'released', 'snoozed', 'refused'])[j.kind + 1],
           false, j.hash,
           coalesce((SELECT a.session_id FROM callboard_attempts a WHERE a.task_id = j.id AND a.attempt = j.attempt
                     AND a.lease_key = j.key AND a.accepted LIMIT 1),
                    CASE WHEN t.attempt = j.attempt AND t.lease_key = j.key THEN t.session_id END),
           CASE WHEN j.kind > 0 THEN nullif(j.other::jsonb - 'after' - 'until', '{}') END,
           jsonb_build_object('reported', left(j.body, 2000), 'why', 'a newer attempt or a final state had superseded this one',
                              'state', t.state, 'newest_attempt', t.attempt)
    FROM judged j JOIN callboard_tasks t ON t.id = j.id
    WHERE NOT j.before
    ON CONFLICT (task_id, attempt, lease_key, outcome_hash) WHERE NOT accepted DO NOTHING
)
SELECT array_agg(n::int) FROM judged WHERE before
