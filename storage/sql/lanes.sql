SELECT l.id, l.name, coalesce(l.queue, h.queue, $1) AS queue, l.queue AS given, l.requirements::text, l.keyed, l.placed,
       callboard_is_special(l) AS special
FROM callboard_lanes l LEFT JOIN callboard_handlers h ON h.name = l.name
ORDER BY l.id
