-- A task, and those that were cancelled because it did not succeed, or because one of them was. $1 task, $2 how many at most
WITH RECURSIVE dependant AS (
    SELECT $1::bigint AS id
    UNION
    SELECT e.child_id FROM dependant d
    JOIN callboard_dependencies e ON e.parent_id = d.id
    JOIN callboard_tasks t ON t.id = e.child_id AND t.state = 'cancelled' AND t.error->>'type' = 'ParentFailed'
)
SELECT id FROM dependant LIMIT $2
