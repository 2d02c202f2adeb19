-- Which jobs come first: 1 normal, 2 background, which a route or the plugin's table asked for. What somebody waits for
-- comes before both and is never in the journal.
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 1 CHECK (priority IN (1, 2));

DROP INDEX jobs_queued;
CREATE INDEX jobs_queued ON jobs (plugin, priority, seq) WHERE state = 'queued';
