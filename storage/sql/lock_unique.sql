-- In one order for everybody. $1 keys
SELECT pg_advisory_xact_lock(k.hash)
FROM (SELECT DISTINCT hashtextextended('callboard unique ' || key, 0) AS hash FROM unnest($1::text[]) AS u (key) ORDER BY 1) k
