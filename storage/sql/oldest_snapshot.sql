-- Who has kept PostgreSQL longest from clearing dead rows of this database away, as far as this role may see.
SELECT who, extract(epoch FROM clock_timestamp() - since)::float8 AS age
FROM (
    SELECT format('session %s (%s, %s)', pid, coalesce(nullif(application_name, ''), 'no name'), state) AS who,
           xact_start AS since
    FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
      AND coalesce(backend_xmin, backend_xid) IS NOT NULL
    UNION ALL
    SELECT format('the prepared transaction %s', gid), prepared FROM pg_prepared_xacts
    WHERE database = current_database()
) held
WHERE since IS NOT NULL ORDER BY since LIMIT 1
