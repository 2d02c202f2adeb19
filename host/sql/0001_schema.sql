-- The journal's tables. A change is a new numbered file; this one is never edited after a release.

-- An event is a settled, identified content. The same content is one event, however often it arrives.
CREATE TABLE events (
    id         TEXT PRIMARY KEY,              -- hash of kind and content (and of the parent, for a derived event)
    kind       TEXT NOT NULL,
    media_type TEXT NOT NULL,
    sha256     TEXT NOT NULL,
    size       INTEGER NOT NULL,
    location   TEXT NOT NULL,                 -- where in the library; or, absolute, a file that its owner keeps in place
    mark       TEXT NOT NULL DEFAULT '',      -- of a kept file: its revision, so that another content is never taken for it
    name       TEXT NOT NULL,
    source     TEXT NOT NULL,                 -- of its first arrival
    origin     TEXT NOT NULL,
    tags       TEXT NOT NULL DEFAULT '[]',
    metadata   TEXT NOT NULL DEFAULT '{}',
    parent     TEXT REFERENCES events (id) ON DELETE CASCADE,
    created    REAL NOT NULL                  -- seconds since 1970, as all times here
) STRICT, WITHOUT ROWID;

CREATE INDEX events_sha256 ON events (sha256);
CREATE INDEX events_parent ON events (parent) WHERE parent IS NOT NULL;

-- An arrival is one time that a source noticed a content: source + origin + revision + content.
--   accepted → the event and its jobs are committed; the source may acknowledge (again, after a crash)
--   refused  → never an event; `reason` says why; looked at again when revision or change time differ
CREATE TABLE arrivals (
    id       INTEGER PRIMARY KEY,
    source   TEXT NOT NULL,
    origin   TEXT NOT NULL,
    revision TEXT NOT NULL,                   -- of a file: mtime in ns, size and inode
    changed  INTEGER NOT NULL DEFAULT 0,      -- of a file: ctime in ns, so that a refusal is reviewed after a chmod
    event_id TEXT REFERENCES events (id) ON DELETE CASCADE,
    state    TEXT NOT NULL CHECK (state IN ('accepted', 'refused')),
    reason   TEXT NOT NULL DEFAULT '',
    seen     REAL NOT NULL,
    UNIQUE (source, origin, revision, event_id)
) STRICT;

CREATE INDEX arrivals_event ON arrivals (event_id);
CREATE UNIQUE INDEX arrivals_refused ON arrivals (source, origin) WHERE state = 'refused';

-- A job is one event x one plugin.
--   queued → done     its results are committed in the same transaction
--   queued → queued   tried again: attempts + 1, not before `not_before`; or set alone after its batch failed
--   queued → failed   after three attempts, or at once when the content or the model is at fault
--   failed → queued   by `sensorium requeue`, attempts = 0
--   done   → queued   by `sensorium requeue --done`; the next results replace the old ones
-- 'running' is not a state here: it lives with the dispatcher, and a crash makes it 'queued' again by itself.
CREATE TABLE jobs (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id   TEXT NOT NULL REFERENCES events (id) ON DELETE CASCADE,
    plugin     TEXT NOT NULL,
    state      TEXT NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'done', 'failed')),
    attempts   INTEGER NOT NULL DEFAULT 0,
    alone      INTEGER NOT NULL DEFAULT 0,    -- 1: never share a batch again, its last batch failed
    not_before REAL NOT NULL DEFAULT 0,
    error      TEXT,                          -- JSON: code, message, hint, detail
    queued     REAL NOT NULL,
    finished   REAL,
    UNIQUE (event_id, plugin)
) STRICT;

CREATE INDEX jobs_queued ON jobs (plugin, seq) WHERE state = 'queued';
CREATE INDEX jobs_open ON jobs (event_id) WHERE state = 'queued';
CREATE INDEX jobs_failed ON jobs (finished) WHERE state = 'failed';
CREATE INDEX jobs_finished ON jobs (finished) WHERE state = 'done';

CREATE TABLE results (
    id         INTEGER PRIMARY KEY,
    event_id   TEXT NOT NULL,
    plugin     TEXT NOT NULL,
    ordinal    INTEGER NOT NULL,
    type       TEXT NOT NULL,
    version    INTEGER NOT NULL,
    data       TEXT NOT NULL,                 -- JSON, without the blob
    artifact   TEXT,                          -- name in the library of a blob that is a file (a thumbnail)
    provenance TEXT NOT NULL,                 -- JSON
    created    REAL NOT NULL,
    UNIQUE (event_id, plugin, ordinal),
    FOREIGN KEY (event_id, plugin) REFERENCES jobs (event_id, plugin) ON DELETE CASCADE
) STRICT;

-- The vectors themselves; every index file is a cache of this table. `id` only grows: an index knows what it has seen.
CREATE TABLE embeddings (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    plugin   TEXT NOT NULL,
    ordinal  INTEGER NOT NULL,
    space    TEXT NOT NULL,
    vector   BLOB NOT NULL,                   -- float32, little-endian, unit length
    FOREIGN KEY (event_id, plugin, ordinal) REFERENCES results (event_id, plugin, ordinal) ON DELETE CASCADE
) STRICT;

CREATE INDEX embeddings_space ON embeddings (space, id);
CREATE INDEX embeddings_result ON embeddings (event_id, plugin, ordinal);

-- What is owed to a sink: written in the transaction that finishes an event's last job, deleted when it is delivered.
-- `times` counts how often it was owed since: a delivery that was overtaken by newer results does not settle it.
CREATE TABLE deliveries (
    arrival_id INTEGER NOT NULL REFERENCES arrivals (id) ON DELETE CASCADE,
    sink       TEXT NOT NULL,
    times      INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (arrival_id, sink)
) STRICT, WITHOUT ROWID;

-- Who computed where and when; the fencing number only grows.
CREATE TABLE leases (
    fence    INTEGER PRIMARY KEY,
    device   TEXT NOT NULL,
    model    TEXT NOT NULL,
    pid      INTEGER NOT NULL,
    granted  REAL NOT NULL,
    released REAL,
    reason   TEXT NOT NULL DEFAULT ''
) STRICT;

-- Hashes of model files, so that a file of many GB is read once and not at each load.
CREATE TABLE model_files (
    path   TEXT PRIMARY KEY,
    mark   TEXT NOT NULL,                     -- size and mtime in ns
    sha256 TEXT NOT NULL
) STRICT, WITHOUT ROWID;
