-- The leases' history: who lay in which memory, who computed, what a device allowed. What is older than [devices]
-- history_days is deleted; nothing depends on these rows but what people look at, and the last fencing number.

-- A lease is one turn of one model on one device (0001).
--   granted → released     `reason` says to whom it went, or why its model left
--   granted → released     by the next start, when the host was killed
ALTER TABLE leases RENAME COLUMN model TO plugin;
ALTER TABLE leases DROP COLUMN pid;
ALTER TABLE leases ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE leases ADD COLUMN memory_mb REAL;                     -- the plugin's best known footprint at its end

CREATE INDEX leases_released ON leases (released);

-- A residency is one worker that holds one model in one device's memory.
--   loading → loaded → leaving → gone      evicted, idle, dismissed or withdrawn: `reason` says which
--   loading → gone                         it could not be loaded, or the host ended
--   loaded  → gone                         its worker ended by itself
--   any     → gone                         by the next start, when the host was killed
CREATE TABLE residencies (
    fence     INTEGER PRIMARY KEY,            -- of the lease under which it was loaded
    device    TEXT NOT NULL,
    plugin    TEXT NOT NULL,
    model     TEXT NOT NULL,
    memory_mb REAL NOT NULL,                  -- best known footprint, measured once it has worked
    loading   REAL NOT NULL,
    loaded    REAL,
    leaving   REAL,
    gone      REAL,
    reason    TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX residencies_gone ON residencies (gone);

-- When a model computed: batches that follow each other closely are one row, which is written when it has ended.
CREATE TABLE work_spans (
    id      INTEGER PRIMARY KEY,
    device  TEXT NOT NULL,
    plugin  TEXT NOT NULL,
    began   REAL NOT NULL,
    ended   REAL NOT NULL,
    batches INTEGER NOT NULL
) STRICT;

CREATE INDEX work_spans_ended ON work_spans (ended);

-- What a device allowed from a moment on: a row at each start, and whenever that changes.
--   allowed → withdrawn → allowed           `withdrawn` says why nothing may compute there; '' when it may
CREATE TABLE device_states (
    id        INTEGER PRIMARY KEY,
    device    TEXT NOT NULL,
    kind      TEXT NOT NULL,
    budget_mb REAL NOT NULL,
    withdrawn TEXT NOT NULL DEFAULT '',
    at        REAL NOT NULL
) STRICT;

CREATE INDEX device_states_at ON device_states (at);
