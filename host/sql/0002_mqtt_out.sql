-- What is owed to sinks that publish: every outcome once, in the order of the commits. See `publish_*` in queries.sql.

-- Sinks that want to be owed; without a row here the triggers below write nothing.
CREATE TABLE publishers (
    sink TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- One message that is owed: of a job that is finished, for one arrival of its event; or of an arrival that was refused.
--   owed → acknowledged by the broker, and deleted
-- The message itself is read from the journal when it is sent. `id` only grows and is never used again.
CREATE TABLE publishes (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    source   TEXT NOT NULL,                   -- of the arrival
    origin   TEXT NOT NULL,
    event_id TEXT,                            -- NULL: it was refused
    plugin   TEXT NOT NULL DEFAULT '',
    reason   TEXT NOT NULL DEFAULT ''         -- why it was refused
) STRICT;

CREATE INDEX publishes_event ON publishes (event_id, plugin);

-- A job is finished: all arrivals of its event are told.
CREATE TRIGGER publish_outcome AFTER UPDATE OF state ON jobs
WHEN NEW.state IN ('done', 'failed') AND EXISTS (SELECT 1 FROM publishers)
BEGIN
    INSERT INTO publishes (source, origin, event_id, plugin)
    SELECT source, origin, event_id, NEW.plugin FROM arrivals
    WHERE event_id = NEW.event_id AND state = 'accepted' ORDER BY id;
END;

-- A content that was worked on before has come again: its new arrival is told at once. The same arrival, delivered again
-- after a crash, is no new row of `arrivals` and is told nothing.
CREATE TRIGGER publish_known AFTER INSERT ON arrivals
WHEN NEW.state = 'accepted' AND EXISTS (SELECT 1 FROM publishers)
BEGIN
    INSERT INTO publishes (source, origin, event_id, plugin)
    SELECT NEW.source, NEW.origin, NEW.event_id, plugin FROM jobs
    WHERE event_id = NEW.event_id AND state IN ('done', 'failed') ORDER BY seq;
END;

CREATE TRIGGER publish_refusal AFTER INSERT ON arrivals
WHEN NEW.state = 'refused' AND EXISTS (SELECT 1 FROM publishers)
BEGIN
    INSERT INTO publishes (source, origin, reason) VALUES (NEW.source, NEW.origin, NEW.reason);
END;

CREATE TRIGGER publish_refusal_again AFTER UPDATE OF revision ON arrivals
WHEN NEW.state = 'refused' AND EXISTS (SELECT 1 FROM publishers)
BEGIN
    INSERT INTO publishes (source, origin, reason) VALUES (NEW.source, NEW.origin, NEW.reason);
END;
