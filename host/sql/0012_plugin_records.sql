-- What is remembered of each plugin: what it did, what it cost, what it was seen to do that it should not, and whether it
-- is off. `in_a_row` counts jobs that failed with no success between them, the plugin being at fault.
--   ''           it works
--   'disabled'   by `sensorium plugin disable`: not imported at the next start, and no new jobs
--   'suspended'  by the host, after too many failures in a row: its jobs are queued, and stay so until it is enabled
CREATE TABLE plugin_records (
    plugin    TEXT PRIMARY KEY,
    done      INTEGER NOT NULL,
    failed    INTEGER NOT NULL,
    in_a_row  INTEGER NOT NULL,
    seconds   REAL NOT NULL,                  -- in which its workers ran its hooks
    memory_mb REAL NOT NULL,                  -- the most that a worker had resident
    notes     TEXT NOT NULL,                  -- JSON: by kind, how often and what last
    off       TEXT NOT NULL CHECK (off IN ('', 'disabled', 'suspended')),
    why       TEXT NOT NULL,
    since     REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Jobs that something may still come of by itself: nobody's sidecar waits for a plugin that is off.
CREATE VIEW open_jobs AS
SELECT * FROM jobs
WHERE state = 'queued' AND plugin NOT IN (SELECT plugin FROM plugin_records WHERE off != '');
