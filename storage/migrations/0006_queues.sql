-- oldest: 0001
-- What operators say about queues and handlers. A queue without a row has no limits.

CREATE TABLE callboard_queues (
    name                 text PRIMARY KEY,
    concurrency          integer CHECK (concurrency >= 0),           -- weights that may be out at once, everywhere
    concurrency_per_key  integer CHECK (concurrency_per_key >= 1),   -- the same, of one concurrency key
    rate_limit           integer CHECK (rate_limit >= 1),            -- starts within any rate_period
    rate_period          double precision CHECK (rate_period > 0),   -- seconds
    key_rate_limit       integer CHECK (key_rate_limit >= 1),        -- the same, of one concurrency key
    key_rate_period      double precision CHECK (key_rate_period > 0),
    paused               boolean NOT NULL DEFAULT false,
    paused_reason        text,
    paused_at            timestamptz,
    last_key             text NOT NULL DEFAULT '',                   -- whose turn was last, where keys take turns
    keep_succeeded       double precision CHECK (keep_succeeded >= 0),   -- seconds; NULL: as for all queues
    keep_unsuccessful    double precision CHECK (keep_unsuccessful >= 0),
    limited_at           timestamptz,                                -- when its limits changed
    updated_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    limited              boolean NOT NULL GENERATED ALWAYS AS (concurrency IS NOT NULL OR concurrency_per_key IS NOT NULL
                                     OR rate_limit IS NOT NULL OR key_rate_limit IS NOT NULL) STORED,
    CHECK ((rate_limit IS NULL) = (rate_period IS NULL)),
    CHECK ((key_rate_limit IS NULL) = (key_rate_period IS NULL)),
    CHECK (paused = (paused_at IS NOT NULL))
) WITH (fillfactor = 70);

-- Handlers of which nothing is started, whether anybody has declared them or not.
CREATE TABLE callboard_paused_names (
    name       text PRIMARY KEY,
    reason     text,
    paused_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
