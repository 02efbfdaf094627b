-- Parents that did not succeed, whose new children are to be told. $1 ids
INSERT INTO callboard_finished_parents
SELECT p.id FROM callboard_tasks p
WHERE p.id = ANY ($1::bigint[]) AND p.finished_at IS NOT NULL AND p.state <> 'succeeded'
ON CONFLICT DO NOTHING
