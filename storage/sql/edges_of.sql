-- $1 children
SELECT d.child_id, d.parent_id, d.cancels, coalesce(p.state, 'gone') AS state
FROM callboard_dependencies d LEFT JOIN callboard_tasks p ON p.id = d.parent_id
WHERE d.child_id = ANY ($1::bigint[]) ORDER BY d.child_id, d.parent_id
