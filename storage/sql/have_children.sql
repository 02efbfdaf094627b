UPDATE callboard_tasks SET has_children = true WHERE id = ANY ($1::bigint[]) AND NOT has_children
