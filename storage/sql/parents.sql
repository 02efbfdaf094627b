-- Locks the tasks that others will depend on, by id, so that none of them ends unnoticed. $1 ids
SELECT t.id, t.state, t.finished_at IS NOT NULL AS final FROM callboard_tasks t
WHERE t.id = ANY ($1::bigint[]) ORDER BY t.id FOR NO KEY UPDATE
