-- oldest: 0001
-- For use inside the caller's own transaction: what is posted or cancelled holds with its commit, and not without it.
-- SET search_path FROM CURRENT: the tables are found whatever path the caller has.

CREATE FUNCTION callboard_channel(topic text) RETURNS text LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT CASE current_schema() WHEN 'public' THEN 'callboard_' || topic
                ELSE left('callboard_' || current_schema() || '_' || topic, 63) END
$$;

-- Raises invalid_parameter_value; always.
CREATE FUNCTION callboard_refuse(field text, detail text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'callboard: % %', field, detail USING ERRCODE = 'invalid_parameter_value';
END $$;

CREATE FUNCTION callboard_check_name(field text, value text) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF value IS NULL OR length(value) NOT BETWEEN 1 AND 200 OR value ~ '[\s<[:cntrl:]]' THEN
        PERFORM callboard_refuse(field, format('must have 1 to 200 characters without spaces and ''<'', got %s: write a name like images.thumbnail',
                                               coalesce(quote_literal(left(value, 64)), 'NULL')));
    END IF;
END $$;

CREATE FUNCTION callboard_check_text(field text, value text, most integer) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF length(value) NOT BETWEEN 1 AND most THEN
        PERFORM callboard_refuse(field, format('must have 1 to %s characters, got %s', most, length(value)));
    END IF;
END $$;

CREATE FUNCTION callboard_check_number(field text, value double precision, low double precision, high double precision) RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF NOT (value >= low AND value <= high) THEN
        PERFORM callboard_refuse(field, format('must be from %s to %s, got %s', low, high, value));
    END IF;
END $$;

-- An object whose values are texts. NULL is let pass.
CREATE FUNCTION callboard_check_texts(field text, value jsonb, most integer) RETURNS void LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF jsonb_typeof(value) <> 'object' THEN
        PERFORM callboard_refuse(field, format('must be a JSON object, not %s', jsonb_typeof(value)));
    ELSIF EXISTS (SELECT FROM jsonb_each(value) AS e WHERE jsonb_typeof(e.value) <> 'string' OR length(e.key) NOT BETWEEN 1 AND 128
                  OR length(e.value #>> '{}') > 1024) OR (SELECT count(*) FROM jsonb_object_keys(value)) > most THEN
        PERFORM callboard_refuse(field, format('must have at most %s entries, with keys of 1 to 128 characters and texts of at most 1024 as values', most));
    END IF;
END $$;

-- The number of a kind of tasks, a new one if need be.
CREATE FUNCTION callboard_lane(name text, queue text, requirements jsonb, keyed boolean, placed boolean) RETURNS integer
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
#variable_conflict use_column
DECLARE
    found integer;
BEGIN
    LOOP
        SELECT l.id INTO found FROM callboard_lanes l
        WHERE l.name = callboard_lane.name AND coalesce(l.queue, '') = coalesce(callboard_lane.queue, '')
          AND l.requirements = callboard_lane.requirements AND l.keyed = callboard_lane.keyed AND l.placed = callboard_lane.placed;
        EXIT WHEN found IS NOT NULL;
        INSERT INTO callboard_lanes (name, queue, requirements, keyed, placed) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (name, coalesce(queue, ''), requirements, keyed, placed) DO NOTHING;
    END LOOP;
    RETURN found;
END $$;

-- Cancels, as POST /tasks/{id}/cancel does. 'cancelled': nothing of it will start. 'cancelling': an attempt is out, and is
-- told to stop. Any other final state: it had ended so. NULL: there is no such task.
CREATE FUNCTION callboard_cancel(task bigint) RETURNS text LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    became text;
BEGIN
    UPDATE callboard_tasks t
    SET state = CASE WHEN t.state IN ('queued', 'blocked') THEN 'cancelled' ELSE t.state END,
        finished_at = CASE WHEN t.state IN ('queued', 'blocked') THEN clock_timestamp() END,
        cancel_requested_at = coalesce(t.cancel_requested_at, clock_timestamp())
    WHERE t.id = task AND t.finished_at IS NULL
    RETURNING t.state INTO became;
    IF became IS NULL THEN
        SELECT t.state INTO became FROM callboard_tasks t WHERE t.id = task;
        RETURN became;
    END IF;
    PERFORM pg_notify(callboard_channel(CASE became WHEN 'cancelled' THEN 'final' ELSE 'wishes' END), '');
    RETURN CASE became WHEN 'cancelled' THEN became ELSE 'cancelling' END;
END $$;
