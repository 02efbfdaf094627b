-- Of outcomes that changed nothing: were they accepted before? A statement of its own, because in the statement
-- of the update a concurrent duplicate would not be seen. The others are kept as evidence, once each.
WITH o AS MATERIALIZED (
    SELECT *, hashtextextended(kind::text || body, 0) AS hash
    FROM unnest($1::bigint[], $2::int[], $3::uuid[], $4::int[], $5::text[]) WITH ORDINALITY AS u (id, attempt, key, kind, body, n)
), judged AS MATERIALIZED (
    SELECT o.*, EXISTS (SELECT FROM callboard_tasks t WHERE t.id = o.id AND t.attempt = o.attempt AND t.lease_key = o.key
                        AND t.finished_at IS NOT NULL AND t.result_hash = o.hash)
             OR EXISTS (SELECT FROM callboard_attempts a WHERE a.task_id = o.id AND a.attempt = o.attempt
                        AND a.lease_key = o.key AND a.outcome_hash = o.hash AND a.accepted) AS before
    FROM o
), evidence AS (
    INSERT INTO callboard_attempts (task_id, attempt, lease_key, outcome, accepted, outcome_hash, session_id, error, evidence)
    SELECT DISTINCT ON (j.id, j.attempt, j.hash) j.id, j.attempt, j.key,
           (ARRAY['succeeded', 'failed', 'failed', 'timed_out', 'cancelled', 'crashed', 'released', 'snoozed', 'refused'])[j.kind + 1],
           false, j.hash, (SELECT a.session_id FROM callboard_attempts a WHERE a.task_id = j.id AND a.attempt = j.attempt LIMIT 1),
           CASE WHEN j.kind > 0 THEN j.body::jsonb END,
           jsonb_build_object('reported', left(j.body, 2000), 'why', 'a newer attempt or a final state had superseded this one')
    FROM judged j
    WHERE NOT j.before AND EXISTS (SELECT FROM callboard_tasks t WHERE t.id = j.id)
      AND NOT EXISTS (SELECT FROM callboard_attempts a WHERE a.task_id = j.id AND a.attempt = j.attempt AND a.outcome_hash = j.hash)
)
SELECT array_agg(n::int) FROM judged WHERE before
