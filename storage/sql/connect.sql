-- Edges. $1 children, $2 parents, $3 whether the parent's failure cancels the child, $4 whether the child knows its end
INSERT INTO callboard_dependencies (child_id, parent_id, cancels, settled)
SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::boolean[], $4::boolean[])
