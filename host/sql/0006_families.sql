-- Events that plugins made of others, and jobs that wait until all of such a family is finished.

ALTER TABLE events ADD COLUMN maker TEXT;                       -- the plugin that made it of its `parent`
ALTER TABLE events ADD COLUMN role TEXT NOT NULL DEFAULT '';    -- what it is to its parent, as 'frame'
ALTER TABLE events ADD COLUMN moment REAL;                      -- seconds from its parent's beginning
ALTER TABLE events ADD COLUMN stale INTEGER NOT NULL DEFAULT 0; -- 1: its maker worked on the parent again, and made it no more

-- A job that gathers calls `on_finished`. It is in the journal from the moment that something was derived from its event.
--   queued, held → queued        no other job of the family is queued any more
--   queued, held → queued, held  another outcome in the family: gathers + 1
--   done, failed → queued        the same, later; `held` while others are queued
--   queued → done                unless `gathers` has grown since it was read: then it is done once more
ALTER TABLE jobs ADD COLUMN gathers INTEGER NOT NULL DEFAULT 0; -- 0: an ordinary job
ALTER TABLE jobs ADD COLUMN held INTEGER NOT NULL DEFAULT 0;

CREATE INDEX jobs_gathering ON jobs (event_id) WHERE gathers > 0;
