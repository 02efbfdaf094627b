-- Numbers for kinds of tasks; new ones are added. One that another session adds at this moment is not seen: ask again.
WITH wanted AS MATERIALIZED (
    SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS w (name, queue)
), known AS MATERIALIZED (
    SELECT l.id, l.name, l.queue FROM callboard_lanes l
    JOIN wanted w ON l.name = w.name AND l.queue IS NOT DISTINCT FROM w.queue
    WHERE l.requirements = '{}'
), added AS (
    INSERT INTO callboard_lanes (name, queue)
    SELECT name, queue FROM wanted w
    WHERE NOT EXISTS (SELECT FROM known k WHERE k.name = w.name AND k.queue IS NOT DISTINCT FROM w.queue)
    ON CONFLICT (name, coalesce(queue, ''), requirements) DO NOTHING
    RETURNING id, name, queue
)
TABLE known UNION ALL TABLE added
