-- What is owed to sinks that plugins are (`on_result`): one row for each arrival and sink.
--   owed → told, and deleted
--   owed → owed       it failed: attempts + 1, and not before `not_before`
--   owed → set aside  the plugin said that it can never be told
--   any  → owed       something new was found: another row with another `id`, so that what was told before is not this
-- `id` only grows and is never used again: whoever is told knows by it what they were told before.
CREATE TABLE notices (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    sink       TEXT NOT NULL,
    arrival_id INTEGER NOT NULL REFERENCES arrivals (id) ON DELETE CASCADE,
    attempts   INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0,
    error      TEXT NOT NULL DEFAULT '',
    set_aside  INTEGER NOT NULL DEFAULT 0,
    UNIQUE (sink, arrival_id)
) STRICT;

CREATE INDEX notices_arrival ON notices (arrival_id);
CREATE INDEX notices_owed ON notices (sink, not_before) WHERE set_aside = 0;
