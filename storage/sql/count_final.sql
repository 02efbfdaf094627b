SELECT s.state, (SELECT count(*) FROM (SELECT FROM callboard_tasks t WHERE t.state = s.state LIMIT $1) x)::bigint AS count
FROM unnest($2::text[]) AS s (state)
