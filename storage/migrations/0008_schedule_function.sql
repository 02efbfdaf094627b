-- oldest: 0001
-- Schedules from inside the caller's own transaction. The expression is judged here, so that a wrong one is refused at
-- once; when it fires is computed by a scheduler, within moments of the commit: tzdata = '' says that it has not been yet.

CREATE INDEX callboard_schedules_untimed ON callboard_schedules (id) WHERE tzdata = '' AND deleted_at IS NULL;

CREATE FUNCTION callboard_check_cron(cron text, seconds boolean) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    fields constant text[] := ARRAY['second', 'minute', 'hour', 'day of month', 'month', 'day of week'];
    low constant integer[] := ARRAY[0, 0, 0, 1, 1, 0];
    high constant integer[] := ARRAY[59, 59, 23, 31, 12, 7];
    names constant text[] := ARRAY['', '', '', '', 'JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC', 'SUNMONTUEWEDTHUFRISAT'];
    parts text[] := regexp_split_to_array(btrim(regexp_replace(upper(cron), '\s+', ' ', 'g')), ' ');
    term text;
    found text[];
    one text;
    bounds integer[];
    number integer;
    wanted integer := 5 + seconds::int;
BEGIN
    IF length(cron) > 200 THEN
        PERFORM callboard_refuse('cron', 'is longer than 200 characters');
    END IF;
    IF parts[1] LIKE '@%' THEN
        IF cardinality(parts) > 1 OR parts[1] NOT IN ('@YEARLY', '@ANNUALLY', '@MONTHLY', '@WEEKLY', '@DAILY', '@MIDNIGHT', '@HOURLY') THEN
            PERFORM callboard_refuse('cron', format('%L is not known; known are @annually, @daily, @hourly, @midnight, @monthly, @weekly, @yearly', cron));
        END IF;
        RETURN;
    END IF;
    IF cardinality(parts) <> wanted THEN
        PERFORM callboard_refuse('cron', format('has %s fields instead of %s%s', cardinality(parts), wanted,
            CASE WHEN cardinality(parts) = 6 THEN '; for six fields say seconds => true' ELSE '' END));
    END IF;
    IF NOT seconds THEN
        parts := ARRAY['0'] || parts;
    END IF;
    FOR place IN 1..6 LOOP
        FOREACH term IN ARRAY string_to_array(parts[place], ',') LOOP
            CONTINUE WHEN place = 4 AND term IN ('L', 'LW');
            IF place = 6 AND term ~ '^([A-Z0-9]+#[1-5]|[0-9]L)$' THEN
                found := ARRAY[substring(term FROM '^([A-Z]+|[0-9]+)'), NULL, NULL];
            ELSE
                found := (SELECT ARRAY[m[1], m[3], m[5]] FROM regexp_match(term, '^(\*|[A-Z0-9]+)(-([A-Z0-9]+))?(/([0-9]+))?$') AS m);
            END IF;
            IF found IS NULL OR found[1] = '*' AND found[2] IS NOT NULL THEN
                PERFORM callboard_refuse('cron', format('%s %L is not understood; write for example *, %s, %s-%s or */2',
                    fields[place], term, low[place] + 1, low[place] + 1, low[place] + 3));
            END IF;
            bounds := '{}';
            FOREACH one IN ARRAY found[1:2] LOOP
                CONTINUE WHEN one IS NULL OR one = '*';
                number := CASE WHEN one ~ '^[0-9]{1,2}$' THEN one::int
                               WHEN length(one) = 3 AND position(one IN names[place]) % 3 = 1 THEN position(one IN names[place]) / 3 + low[place] END;
                IF number IS NULL OR number NOT BETWEEN low[place] AND high[place] THEN
                    PERFORM callboard_refuse('cron', format('%s %L must be from %s to %s', fields[place], one, low[place], high[place]));
                END IF;
                bounds := bounds || number;
            END LOOP;
            IF bounds[2] < bounds[1] THEN
                PERFORM callboard_refuse('cron', format('%s %L runs backwards: write two ranges', fields[place], term));
            END IF;
            IF found[3] IS NOT NULL AND (length(found[3]) > 2 OR found[3]::int NOT BETWEEN 1 AND high[place]) THEN
                PERFORM callboard_refuse('cron', format('%s %L: the step must be from 1 to %s', fields[place], term, high[place]));
            END IF;
        END LOOP;
    END LOOP;
END $$;

-- As the rest of the program writes times.
CREATE FUNCTION callboard_time_text(moment timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- A schedule of this name, new or in place of the one that there is: as PUT /schedules/{name}. Its id.
CREATE FUNCTION callboard_schedule(
    name text, task text, args jsonb DEFAULT '{}', cron text DEFAULT NULL, every double precision DEFAULT NULL, at timestamptz DEFAULT NULL,
    seconds boolean DEFAULT false, timezone text DEFAULT 'UTC', overlap text DEFAULT 'allow', catch_up text DEFAULT 'last',
    dst_gap text DEFAULT 'shift', dst_fold text DEFAULT 'first', jitter double precision DEFAULT 0,
    start_at timestamptz DEFAULT NULL, end_at timestamptz DEFAULT NULL,
    queue text DEFAULT NULL, priority integer DEFAULT NULL, timeout double precision DEFAULT NULL, max_tries integer DEFAULT NULL
) RETURNS bigint LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    template jsonb;
    defined jsonb;
    lane integer;
    now timestamptz := clock_timestamp();
    before callboard_schedules;
    made bigint;
BEGIN
    IF name IS NULL OR name !~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$' THEN
        PERFORM callboard_refuse('name', format('%s must have 1 to 100 letters, digits, ''.'', ''_'', '':'' or ''-'', and begin with a letter or digit',
                                                coalesce(quote_literal(left(name, 64)), 'NULL')));
    END IF;
    PERFORM callboard_check_name('task', task);
    IF queue IS NOT NULL THEN
        PERFORM callboard_check_name('queue', queue);
    END IF;
    IF args IS NULL OR jsonb_typeof(args) <> 'object' OR octet_length(args::text) > 262144 THEN
        PERFORM callboard_refuse('args', 'must be a JSON object of at most 256 KiB');
    END IF;
    PERFORM callboard_check_number('priority', priority, 1, 4), callboard_check_number('max_tries', max_tries, 1, 1000),
            callboard_check_number('timeout', timeout, 1e-3, 86400), callboard_check_number('every', every, 1, 316224000),
            callboard_check_number('jitter', jitter, 0, 86400);
    IF num_nonnulls(cron, every, at) <> 1 THEN
        PERFORM callboard_refuse('cron', format('give one of cron, every or at; there are %s', num_nonnulls(cron, every, at)));
    ELSIF cron IS NOT NULL THEN
        PERFORM callboard_check_cron(cron, coalesce(seconds, false));
    ELSIF seconds THEN
        PERFORM callboard_refuse('seconds', 'only a cron expression has six fields: leave it out');
    ELSIF round(every::numeric, 3) <> every::numeric THEN
        PERFORM callboard_refuse('every', format('must be whole milliseconds, got %s', every));
    ELSIF at <= now THEN
        PERFORM callboard_refuse('at', format('%s is past: it would never fire; post a task instead', at));
    END IF;
    IF timezone IS NULL OR NOT EXISTS (SELECT FROM pg_timezone_names z WHERE z.name = timezone) THEN
        PERFORM callboard_refuse('timezone', format('%L is no IANA name of a time zone: write for example Europe/Berlin', timezone));
    END IF;
    IF overlap IS NULL OR overlap NOT IN ('allow', 'skip', 'queue_one', 'cancel_running') THEN
        PERFORM callboard_refuse('overlap', format('must be one of allow, skip, queue_one, cancel_running, not %L', overlap));
    ELSIF catch_up IS NULL OR catch_up NOT IN ('none', 'last', 'all') THEN
        PERFORM callboard_refuse('catch_up', format('must be one of none, last, all, not %L', catch_up));
    ELSIF dst_gap IS NULL OR dst_gap NOT IN ('shift', 'skip') THEN
        PERFORM callboard_refuse('dst_gap', format('must be one of shift, skip, not %L', dst_gap));
    ELSIF dst_fold IS NULL OR dst_fold NOT IN ('first', 'last', 'both') THEN
        PERFORM callboard_refuse('dst_fold', format('must be one of first, last, both, not %L', dst_fold));
    ELSIF end_at <= greatest(start_at, now) THEN
        PERFORM callboard_refuse('end_at', 'must be after start_at, and in the future: it would never fire');
    ELSIF at IS NOT NULL AND num_nonnulls(start_at, end_at) > 0 THEN
        PERFORM callboard_refuse('start_at', 'a schedule that fires once, at its time, has neither start_at nor end_at');
    END IF;
    template := jsonb_strip_nulls(jsonb_build_object('name', task, 'queue', queue, 'priority', priority, 'timeout', timeout,
                                                     'max_tries', max_tries)) || jsonb_build_object('args', args);
    defined := jsonb_build_object(
        'task', template, 'cron', regexp_replace(btrim(cron), '\s+', ' ', 'g'), 'every', every, 'at', callboard_time_text(at), 'seconds', coalesce(seconds, false),
        'timezone', timezone, 'dst_gap', dst_gap, 'dst_fold', dst_fold, 'overlap', overlap, 'catch_up', catch_up,
        'jitter', coalesce(jitter, 0), 'start_at', callboard_time_text(start_at), 'end_at', callboard_time_text(end_at));
    lane := callboard_lane(task, queue, '{}', false, false);
    LOOP
        SELECT s.* INTO before FROM callboard_schedules s WHERE s.name = callboard_schedule.name AND s.deleted_at IS NULL FOR UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO callboard_schedules AS s (name, definition, lane_id, anchor, counted_to, tzdata, created_at, updated_at)
        VALUES (callboard_schedule.name, defined, lane, date_trunc('second', now), now, '', now, now)
        ON CONFLICT (name) WHERE deleted_at IS NULL DO NOTHING RETURNING s.id INTO made;
        EXIT WHEN made IS NOT NULL;
    END LOOP;
    IF made IS NULL AND before.definition @> defined THEN
        RETURN before.id;  -- the same again changes nothing
    END IF;
    IF made IS NULL THEN
        INSERT INTO callboard_schedule_slots (schedule_id, slot_at, state, reason, version, until)
        SELECT before.id, before.next_slot_at, 'gap', 'the schedule was edited; at least so many', before.version, greatest(now, before.next_slot_at)
        WHERE before.next_slot_at <= now AND NOT before.paused
        ON CONFLICT DO NOTHING;
        UPDATE callboard_schedules s
        SET definition = defined, version = s.version + 1, lane_id = lane, anchor = date_trunc('second', now),
            counted_to = greatest(s.counted_to, now), next_slot_at = NULL, catching_up = 0, skip_until = NULL, skip_reason = NULL,
            gap_from = NULL, tzdata = '', updated_at = now
        WHERE s.id = before.id;
    END IF;
    PERFORM pg_notify(callboard_channel('schedules'), '');
    RETURN coalesce(made, before.id);
END $$;

-- As DELETE /schedules/{name}: its tasks stay, what waits is skipped. Whether there was one.
CREATE FUNCTION callboard_unschedule(name text) RETURNS boolean LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    gone bigint;
BEGIN
    UPDATE callboard_schedules s SET deleted_at = clock_timestamp(), next_slot_at = NULL
    WHERE s.name = callboard_unschedule.name AND s.deleted_at IS NULL RETURNING s.id INTO gone;
    UPDATE callboard_schedule_slots s SET state = 'skipped', reason = 'the schedule was deleted' WHERE s.schedule_id = gone AND s.state = 'waiting';
    RETURN gone IS NOT NULL;
END $$;
