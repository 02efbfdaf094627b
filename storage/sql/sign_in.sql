WITH me AS (
    INSERT INTO callboard_coordinators (id, address, version, seen_until)
    VALUES ($1, $2, $3, clock_timestamp() + make_interval(secs => $4))
    ON CONFLICT (id) DO UPDATE SET address = excluded.address, version = excluded.version, seen_until = excluded.seen_until
    RETURNING id, address, version, started_at, seen_until
), gone AS (
    DELETE FROM callboard_coordinators WHERE seen_until < clock_timestamp() - interval '1 day' AND id <> $1
)
SELECT id, address, version, started_at, seen_until, true AS alive, 0 AS workers FROM me
UNION ALL
SELECT id, address, version, started_at, seen_until, true, 0 FROM callboard_coordinators WHERE id <> $1 AND seen_until > clock_timestamp()
