-- Numbers for kinds of tasks; new ones are added. One that another session adds at this moment is not seen: ask again.
-- $1 names, $2 queues, $3 requirements, $4 keyed, $5 placed
WITH wanted AS MATERIALIZED (
    SELECT name, queue, requirements::jsonb AS requirements, keyed, placed, n::int AS n
    FROM unnest($1::text[], $2::text[], $3::text[], $4::boolean[], $5::boolean[]) WITH ORDINALITY
      AS w (name, queue, requirements, keyed, placed, n)
), known AS MATERIALIZED (
    SELECT l.id, w.n FROM callboard_lanes l
    JOIN wanted w ON l.name = w.name AND l.queue IS NOT DISTINCT FROM w.queue AND l.requirements = w.requirements
        AND l.keyed = w.keyed AND l.placed = w.placed
), added AS (
    INSERT INTO callboard_lanes (name, queue, requirements, keyed, placed)
    SELECT name, queue, requirements, keyed, placed FROM wanted w WHERE NOT EXISTS (SELECT FROM known k WHERE k.n = w.n)
    ON CONFLICT (name, coalesce(queue, ''), requirements, keyed, placed) DO NOTHING
    RETURNING *
)
TABLE known
UNION ALL
SELECT a.id, w.n FROM added a
JOIN wanted w ON a.name = w.name AND a.queue IS NOT DISTINCT FROM w.queue AND a.requirements = w.requirements
    AND a.keyed = w.keyed AND a.placed = w.placed
