-- Every statement of the host, by name. Writes go through the journal's one writer, reads through its reader.

-- name: insert_event
INSERT INTO events (id, kind, media_type, sha256, size, location, mark, name, source, origin, tags, metadata, parent, created)
VALUES (:id, :kind, :media_type, :sha256, :size, :location, :mark, :name, :source, :origin, :tags, :metadata, :parent, :created)
ON CONFLICT (id) DO UPDATE SET location = excluded.location, mark = excluded.mark
    WHERE events.location GLOB '/*' AND (events.location, events.mark) != (excluded.location, excluded.mark);

-- name: rest_content
INSERT INTO contents (event_id, body) VALUES (:event_id, :body) ON CONFLICT (event_id) DO NOTHING;

-- name: resting_contents
SELECT c.event_id, c.body, e.location FROM contents c JOIN events e ON e.id = c.event_id
WHERE c.event_id IN (SELECT value FROM json_each(:ids));

-- name: drop_content
DELETE FROM contents WHERE event_id = :event_id;

-- name: insert_arrival
INSERT INTO arrivals (source, origin, revision, changed, event_id, state, seen)
VALUES (:source, :origin, :revision, :changed, :event_id, 'accepted', :seen)
ON CONFLICT (source, origin, revision, event_id) DO NOTHING;

-- name: insert_job
INSERT INTO jobs (event_id, plugin, queued) VALUES (:event_id, :plugin, :queued)
ON CONFLICT (event_id, plugin) DO NOTHING;

-- name: insert_background_job
INSERT INTO jobs (event_id, plugin, queued, priority) VALUES (:event_id, :plugin, :queued, 2)
ON CONFLICT (event_id, plugin) DO NOTHING;

-- name: refuse_arrival
INSERT INTO arrivals (source, origin, revision, changed, state, reason, seen)
VALUES (:source, :origin, :revision, :changed, 'refused', :reason, :seen)
ON CONFLICT (source, origin) WHERE state = 'refused'
DO UPDATE SET revision = excluded.revision, changed = excluded.changed, reason = excluded.reason, seen = excluded.seen;

-- name: refused_origins
SELECT origin FROM arrivals
WHERE state = 'refused' AND source = :source AND origin > :after ORDER BY origin LIMIT :limit;

-- name: refused_since
SELECT count(*) AS refused FROM arrivals WHERE state = 'refused' AND seen >= :moment;

-- name: forget_refusal
DELETE FROM arrivals WHERE source = :source AND origin = :origin AND state = 'refused';

-- name: owe_arrival
-- A content that was worked off before: its new arrival is owed its sidecar at once.
INSERT INTO deliveries (arrival_id, sink)
SELECT id, :sink FROM arrivals
WHERE source = :source AND origin = :origin AND revision = :revision AND event_id = :event_id
  AND NOT EXISTS (SELECT 1 FROM open_jobs WHERE open_jobs.event_id = arrivals.event_id)
ON CONFLICT (arrival_id, sink) DO UPDATE SET times = times + 1;

-- name: owe_event
-- The last job of an event is finished: all its arrivals are owed.
INSERT INTO deliveries (arrival_id, sink)
SELECT id, :sink FROM arrivals
WHERE event_id = :event_id
  AND NOT EXISTS (SELECT 1 FROM open_jobs WHERE open_jobs.event_id = :event_id)
ON CONFLICT (arrival_id, sink) DO UPDATE SET times = times + 1;

-- name: delivered
DELETE FROM deliveries WHERE arrival_id = :arrival_id AND sink = :sink AND times = :times;

-- name: owed
-- `superseded`: the same name has a newer content by now, whose sidecar must not be overwritten.
SELECT d.arrival_id, d.times, a.source, a.origin, a.revision, a.event_id, a.seen,
       EXISTS (SELECT 1 FROM arrivals newer WHERE newer.source = a.source AND newer.origin = a.origin
               AND newer.id > a.id AND newer.state = 'accepted') AS superseded
FROM deliveries d JOIN arrivals a ON a.id = d.arrival_id
WHERE d.sink = :sink ORDER BY d.arrival_id LIMIT :limit;

-- name: unseen
-- What a scan found and the journal does not know. For a folder that is emptied only refusals count as known.
SELECT value ->> 0 AS origin FROM json_each(:found)
WHERE NOT EXISTS (
    SELECT 1 FROM arrivals
    WHERE source = :source AND origin = value ->> 0 AND revision = value ->> 1
      AND CASE state WHEN 'refused' THEN changed = value ->> 2 ELSE :keep END
);

-- name: redelivered
-- For messages that come again: the revision of the latest arrival on the topic that had the same number.
SELECT value ->> 2 AS topic, value ->> 1 AS mid,
       (SELECT max(revision) FROM arrivals
        WHERE source = :source AND origin = value ->> 0
          AND revision > value ->> 1 || '.' AND revision < value ->> 1 || '/') AS revision
FROM json_each(:found);

-- name: queued_jobs
SELECT j.seq, j.event_id, j.attempts, j.alone, j.not_before, j.queued, j.gathers, j.priority, e.*
FROM jobs j JOIN events e ON e.id = j.event_id
WHERE j.plugin = :plugin AND j.priority = :priority AND j.state = 'queued' AND j.held = 0
    AND j.seq > :after ORDER BY j.seq LIMIT :limit;

-- name: clear_results
DELETE FROM results WHERE event_id = :event_id AND plugin = :plugin;

-- name: insert_result
INSERT INTO results (event_id, plugin, ordinal, type, version, data, artifact, provenance, created)
VALUES (:event_id, :plugin, :ordinal, :type, :version, :data, :artifact, :provenance, :created);

-- name: insert_embedding
INSERT INTO embeddings (event_id, plugin, ordinal, space, vector)
VALUES (:event_id, :plugin, :ordinal, :space, :vector);

-- name: finish_job
UPDATE jobs SET state = 'done', error = NULL, finished = :finished WHERE seq = :seq;

-- name: finish_gathering
-- What was found since it was read is missing in its result: then it stays queued, and is done once more.
UPDATE jobs SET state = 'done', error = NULL, finished = :finished WHERE seq = :seq AND gathers = :gathers;

-- name: retry_job
UPDATE jobs SET attempts = :attempts, alone = :alone, not_before = :not_before, error = :error WHERE seq = :seq;

-- name: fail_job
UPDATE jobs SET state = 'failed', attempts = :attempts, error = :error, finished = :finished WHERE seq = :seq;

-- name: requeue_job
UPDATE jobs SET state = 'queued', attempts = 0, alone = 0, not_before = 0, error = NULL, finished = NULL, queued = :queued
WHERE seq = :seq;

-- name: failed_jobs
SELECT j.seq, j.event_id, j.plugin, j.attempts, j.error, j.finished, e.origin, e.source, e.moment
FROM jobs j JOIN events e ON e.id = j.event_id
WHERE j.state = 'failed' AND (:plugin IS NULL OR j.plugin = :plugin) ORDER BY j.finished DESC LIMIT :limit;

-- name: jobs_of_event
SELECT seq, event_id, plugin, state, priority, attempts, alone, not_before, error, queued, finished, held
FROM jobs WHERE event_id = :event_id ORDER BY plugin;

-- name: provenance
SELECT provenance FROM results WHERE event_id = :event_id AND plugin = :plugin ORDER BY ordinal LIMIT 1;

-- name: jobs_ahead
SELECT count(*) AS ahead FROM jobs
WHERE plugin = :plugin AND state = 'queued' AND (priority, seq) < (SELECT priority, seq FROM jobs WHERE seq = :seq);

-- name: events_by_id
SELECT * FROM events WHERE id IN (SELECT value FROM json_each(:ids));

-- name: jobs_of_events
SELECT event_id, plugin, state, attempts, error
FROM jobs WHERE event_id IN (SELECT value FROM json_each(:ids)) ORDER BY plugin;

-- name: results_of_events
SELECT event_id, plugin, ordinal, type, version, data, artifact, provenance, created
FROM results WHERE event_id IN (SELECT value FROM json_each(:ids)) ORDER BY plugin, ordinal;

-- name: event
SELECT * FROM events WHERE id = :id;

-- name: events_by_prefix
SELECT * FROM events WHERE id >= :prefix AND id < :prefix || 'g' ORDER BY id LIMIT 10;

-- name: events_by_sha256
SELECT * FROM events WHERE sha256 = :sha256;

-- name: event_of_size
SELECT id FROM events WHERE size = :size LIMIT 1;

-- name: latest_events
SELECT * FROM events WHERE parent IS NULL ORDER BY created DESC LIMIT :limit;

-- name: arrivals_by_origin
SELECT * FROM arrivals WHERE origin = :origin AND (:source IS NULL OR source = :source) ORDER BY seen DESC, id DESC LIMIT 20;

-- name: arrivals_of_event
SELECT * FROM arrivals WHERE event_id = :event_id ORDER BY seen DESC, id DESC;

-- name: refusals
SELECT * FROM arrivals WHERE state = 'refused' ORDER BY seen DESC LIMIT :limit;

-- name: counts_by_plugin
SELECT plugin, state, count(*) AS jobs FROM jobs GROUP BY plugin, state;

-- name: counts
SELECT (SELECT count(*) FROM events) AS events,
       (SELECT count(*) FROM arrivals WHERE state = 'accepted') AS arrivals,
       (SELECT count(*) FROM arrivals WHERE state = 'refused') AS refused,
       (SELECT count(*) FROM jobs WHERE state = 'queued') AS queued,
       (SELECT count(*) FROM jobs WHERE state = 'failed') AS failed,
       (SELECT count(*) FROM deliveries) AS owed;

-- name: spaces
SELECT space, count(*) AS vectors, max(id) AS newest FROM embeddings GROUP BY space;

-- name: vectors
SELECT id, event_id, vector FROM embeddings WHERE space = :space AND id > :after ORDER BY id LIMIT :limit;

-- name: newest_embedding
SELECT coalesce(max(seq), 0) AS id FROM sqlite_sequence WHERE name = 'embeddings';

-- name: events_of_vectors
SELECT id, event_id FROM embeddings WHERE space = :space AND id IN (SELECT value FROM json_each(:ids));

-- name: vectors_by_id
SELECT id, vector FROM embeddings WHERE space = :space AND id IN (SELECT value FROM json_each(:ids));

-- name: missing_vectors
-- By the index alone: the rows themselves, with their vectors, would all be read from the disk.
SELECT value AS id FROM json_each(:ids)
WHERE NOT EXISTS (SELECT 1 FROM embeddings INDEXED BY embeddings_space WHERE space = :space AND id = value);

-- name: embedding_of_event
SELECT vector FROM embeddings WHERE event_id = :event_id AND space = :space LIMIT 1;

-- name: has_vectors
SELECT EXISTS (SELECT 1 FROM embeddings) AS has_vectors;

-- name: find_passages
-- Best first. The kind is that of what arrived, whichever part of it the passage is from.
SELECT passages.rowid AS id, begins, ends, r.type, r.event_id
FROM passages CROSS JOIN results r ON r.id = passages.rowid >> 20
WHERE passages MATCH :match AND (:events IS NULL OR r.event_id IN (SELECT value FROM json_each(:events)))
AND (:kind IS NULL OR :kind = (
    WITH RECURSIVE up (parent, kind) AS (
        SELECT parent, kind FROM events WHERE id = r.event_id
        UNION ALL SELECT e.parent, e.kind FROM up JOIN events e ON e.id = up.parent
    )
    SELECT kind FROM up WHERE parent IS NULL
))
ORDER BY rank LIMIT :limit;

-- name: snippets
SELECT rowid AS id, snippet(passages, 0, '[', ']', '…', 24) AS snippet
FROM passages WHERE passages MATCH :match AND rowid IN (SELECT value FROM json_each(:ids));

-- name: events_and_above
-- Events, and all that they were derived from; without what its maker made no more.
WITH RECURSIVE up (id) AS (
    SELECT value FROM json_each(:ids)
    UNION SELECT e.parent FROM up JOIN events e ON e.id = up.id WHERE e.parent IS NOT NULL
)
SELECT * FROM events WHERE id IN (SELECT id FROM up) AND NOT stale;

-- name: last_fence
SELECT coalesce(max(fence), 0) AS fence FROM leases;

-- name: grant_lease
INSERT INTO leases (fence, device, plugin, model, granted) VALUES (:fence, :device, :plugin, :model, :granted);

-- name: release_lease
UPDATE leases SET released = :released, reason = :reason, memory_mb = :memory_mb WHERE fence = :fence;

-- name: close_leases
UPDATE leases SET released = :released, reason = 'the host ended' WHERE released IS NULL;

-- name: begin_residency
INSERT INTO residencies (fence, device, plugin, model, memory_mb, loading)
VALUES (:fence, :device, :plugin, :model, :memory_mb, :loading);

-- name: loaded
UPDATE residencies SET loaded = :loaded WHERE fence = :fence;

-- name: measured
UPDATE residencies SET memory_mb = :memory_mb WHERE fence = :fence;

-- name: leaving
UPDATE residencies SET leaving = :leaving, reason = :reason WHERE fence = :fence;

-- name: gone
UPDATE residencies SET gone = :gone, reason = :reason WHERE fence = :fence;

-- name: close_residencies
UPDATE residencies SET gone = :gone, reason = 'the host ended' WHERE gone IS NULL;

-- name: insert_work
INSERT INTO work_spans (device, plugin, began, ended, batches) VALUES (:device, :plugin, :began, :ended, :batches);

-- name: insert_device_state
INSERT INTO device_states (device, kind, budget_mb, withdrawn, at) VALUES (:device, :kind, :budget_mb, :withdrawn, :at);

-- name: forget_leases
-- Some at a time, so that no commit is long; never the last one, whose fencing number the next one follows.
DELETE FROM leases WHERE fence IN (
    SELECT fence FROM leases WHERE released < :before AND fence < (SELECT max(fence) FROM leases)
    ORDER BY released LIMIT :limit
);

-- name: forget_residencies
DELETE FROM residencies WHERE fence IN (
    SELECT fence FROM residencies WHERE gone < :before ORDER BY gone LIMIT :limit
);

-- name: forget_work
DELETE FROM work_spans WHERE id IN (SELECT id FROM work_spans WHERE ended < :before ORDER BY ended LIMIT :limit);

-- name: forget_device_states
-- The last one before the time still holds after it.
DELETE FROM device_states
WHERE at < :before AND id NOT IN (SELECT max(id) FROM device_states WHERE at < :before GROUP BY device);

-- name: residents
SELECT * FROM residencies WHERE gone IS NULL ORDER BY loading;

-- name: residencies
SELECT * FROM residencies WHERE gone IS NULL OR gone >= :since ORDER BY loading;

-- name: departures
SELECT * FROM residencies WHERE device = :device AND gone IS NOT NULL ORDER BY gone DESC LIMIT :limit;

-- name: work_since
SELECT * FROM work_spans WHERE ended >= :since ORDER BY began;

-- name: device_states
SELECT * FROM device_states
WHERE at >= :since OR id IN (SELECT max(id) FROM device_states WHERE at < :since GROUP BY device) ORDER BY id;

-- name: last_leased
-- The last moment at which anything is known of any lease.
SELECT max(at) AS at FROM (
    SELECT max(granted) AS at FROM leases UNION ALL SELECT max(released) FROM leases
    UNION ALL SELECT max(gone) FROM residencies
);

-- name: oldest_queued
SELECT queued FROM jobs WHERE plugin = :plugin AND state = 'queued' ORDER BY seq LIMIT 1;

-- name: model_file
SELECT mark, sha256 FROM model_files WHERE path = :path;

-- name: remember_model_file
INSERT INTO model_files (path, mark, sha256) VALUES (:path, :mark, :sha256)
ON CONFLICT (path) DO UPDATE SET mark = excluded.mark, sha256 = excluded.sha256;

-- name: jobs_to_requeue
-- An event's jobs, and those of all that was derived from it.
WITH RECURSIVE down (id) AS (
    SELECT :event_id UNION ALL SELECT e.id FROM down JOIN events e ON e.parent = down.id
)
SELECT seq, plugin FROM jobs
WHERE state = :state AND (:event_id IS NULL OR event_id IN (SELECT id FROM down)) AND (:plugin IS NULL OR plugin = :plugin);

-- name: jobs_by_seq
SELECT j.seq, j.event_id, j.attempts, j.alone, j.not_before, j.queued, j.gathers, j.priority, e.*
FROM jobs j JOIN events e ON e.id = j.event_id
WHERE j.seq IN (SELECT value FROM json_each(:seqs)) AND j.state = 'queued' AND j.held = 0 ORDER BY j.seq;

-- name: publish_start
-- From now on finished jobs, known contents and refusals are owed to the sink.
INSERT INTO publishers (sink) VALUES (:sink) ON CONFLICT (sink) DO NOTHING;

-- name: publish_stop
DELETE FROM publishers WHERE sink = :sink;

-- name: publish_forget
-- Nobody is left who would send what is owed.
DELETE FROM publishes WHERE NOT EXISTS (SELECT 1 FROM publishers);

-- name: publishers
SELECT sink FROM publishers;

-- name: publish_owed
-- `superseded`: the same is owed once more, later: the job was queued again and has newer results.
SELECT p.id, p.source, p.origin, p.event_id, p.plugin, p.reason,
       p.event_id IS NOT NULL AND EXISTS (SELECT 1 FROM publishes newer
               WHERE newer.event_id = p.event_id AND newer.plugin = p.plugin AND newer.id > p.id
               AND newer.source = p.source AND newer.origin = p.origin) AS superseded
FROM publishes p WHERE p.id > :after ORDER BY p.id LIMIT :limit;

-- name: publish_done
DELETE FROM publishes WHERE id = :id;

-- name: publish_count
SELECT count(*) AS owed FROM publishes;

-- name: retained
SELECT topic, note FROM retained ORDER BY topic;

-- name: retain
INSERT INTO retained (topic, note) VALUES (:topic, :note) ON CONFLICT (topic) DO UPDATE SET note = excluded.note;

-- name: take_back
DELETE FROM retained WHERE topic = :topic;

-- name: last_result
SELECT max(finished) AS finished FROM jobs WHERE state = 'done';

-- name: insert_derived
-- Made once more, of the same content at the same place: it is the same event.
INSERT INTO events (id, kind, media_type, sha256, size, location, name, source, origin, tags, metadata, parent, maker,
                    role, moment, created)
VALUES (:id, :kind, :media_type, :sha256, :size, :location, :name, :source, :origin, :tags, :metadata, :parent, :maker,
        :role, :moment, :created)
ON CONFLICT (id) DO UPDATE SET stale = 0, name = excluded.name, metadata = excluded.metadata;

-- name: arrive_derived
-- Where its parent has arrived it arrives as well, as if the parent were a folder.
INSERT INTO arrivals (source, origin, revision, event_id, state, seen)
SELECT source, origin || '/' || :name, revision, :id, 'accepted', :created FROM arrivals
WHERE event_id = :parent AND state = 'accepted'
ON CONFLICT (source, origin, revision, event_id) DO NOTHING;

-- name: outdate_derived
UPDATE events SET stale = 1 WHERE parent = :parent AND maker = :maker;

-- name: insert_gathering
INSERT INTO jobs (event_id, plugin, queued, gathers, held) VALUES (:event_id, :plugin, :queued, 1, 1)
ON CONFLICT (event_id, plugin) DO NOTHING;

-- name: stir_gathering
-- Something was found, or not, in these events: whoever gathers in them, or in what they were derived from, does so anew.
WITH RECURSIVE up (id) AS (
    SELECT value FROM json_each(:ids)
    UNION SELECT e.parent FROM up JOIN events e ON e.id = up.id WHERE e.parent IS NOT NULL
)
UPDATE jobs SET gathers = gathers + 1, state = 'queued', attempts = 0, alone = 0, not_before = 0, error = NULL,
    finished = NULL, queued = :queued,
    held = EXISTS (
        WITH RECURSIVE down (id) AS (
            SELECT jobs.event_id UNION ALL SELECT e.id FROM down JOIN events e ON e.parent = down.id
        )
        SELECT 1 FROM down JOIN open_jobs other ON other.event_id = down.id
        WHERE NOT (other.gathers > 0 AND other.event_id = jobs.event_id)
    )
WHERE gathers > 0 AND event_id IN (SELECT id FROM up);

-- name: released
-- The gathering jobs of these events, and of what they were derived from, that nothing holds back.
WITH RECURSIVE up (id) AS (
    SELECT value FROM json_each(:ids)
    UNION SELECT e.parent FROM up JOIN events e ON e.id = up.id WHERE e.parent IS NOT NULL
)
SELECT seq, plugin FROM jobs
WHERE gathers > 0 AND state = 'queued' AND held = 0 AND event_id IN (SELECT id FROM up);

-- name: gathering
SELECT 1 AS any FROM jobs WHERE gathers > 0 LIMIT 1;

-- name: ancestors
-- An event and what it was derived from, nearest first.
WITH RECURSIVE up (id, depth) AS (
    SELECT :event_id, 0
    UNION ALL SELECT e.parent, up.depth + 1 FROM up JOIN events e ON e.id = up.id WHERE e.parent IS NOT NULL
)
SELECT e.* FROM up JOIN events e ON e.id = up.id ORDER BY up.depth;

-- name: family
-- An event and all that was derived from it, in the order of their moments.
WITH RECURSIVE down (id, depth) AS (
    SELECT :event_id, 0
    UNION ALL SELECT e.id, down.depth + 1 FROM down JOIN events e ON e.parent = down.id AND NOT e.stale
)
SELECT e.id FROM down JOIN events e ON e.id = down.id ORDER BY down.depth, e.moment, e.role, e.name, e.id;

-- name: derived_jobs
-- How the jobs of what was derived from an event stand.
WITH RECURSIVE down (id) AS (
    SELECT e.id FROM events e WHERE e.parent = :event_id
    UNION ALL SELECT e.id FROM down JOIN events e ON e.parent = down.id
)
SELECT down.id, j.state FROM down LEFT JOIN jobs j ON j.event_id = down.id;

-- name: costs
SELECT plugin, model, settings, variant, device, memory_mb, load_seconds FROM costs;

-- name: learn_cost
INSERT INTO costs (plugin, model, settings, variant, device, memory_mb, load_seconds, seen)
VALUES (:plugin, :model, :settings, :variant, :device, :memory_mb, :load_seconds, :seen)
ON CONFLICT (plugin, model, settings, variant, device)
DO UPDATE SET memory_mb = excluded.memory_mb, load_seconds = excluded.load_seconds, seen = excluded.seen;

-- name: cluster_vectors
-- Vectors that are grouped: of what arrived, and of what was made of it where that is wished.
SELECT v.id, v.vector FROM embeddings v JOIN events e ON e.id = v.event_id
WHERE v.space = :space AND v.id > :after AND NOT e.stale AND (e.parent IS NULL OR :derived)
ORDER BY v.id LIMIT :limit;

-- name: cluster_spaces
SELECT v.space, max(v.id) AS newest, count(*) AS vectors, coalesce(s.newest, 0) AS seen, coalesce(s.loose, 0) AS loose,
       coalesce(s.smallest, 0) AS smallest, coalesce(s.grouped, 0) AS grouped
FROM embeddings v JOIN events e ON e.id = v.event_id LEFT JOIN cluster_spaces s ON s.space = v.space
WHERE NOT e.stale AND (e.parent IS NULL OR :derived) GROUP BY v.space ORDER BY v.space;

-- name: clusters
SELECT c.*, (SELECT count(*) FROM cluster_members m WHERE m.cluster_id = c.id) AS size
FROM clusters c WHERE :space IS NULL OR c.space = :space ORDER BY size DESC, c.name;

-- name: last_cluster
SELECT coalesce(max(seq), 0) AS id FROM sqlite_sequence WHERE name = 'clusters';

-- name: memberships
SELECT m.embedding_id, m.cluster_id FROM cluster_members m JOIN clusters c ON c.id = m.cluster_id WHERE c.space = :space;

-- name: members
-- Nearest to the centre first.
SELECT m.score, e.* FROM cluster_members m JOIN embeddings v ON v.id = m.embedding_id JOIN events e ON e.id = v.event_id
WHERE m.cluster_id = :cluster ORDER BY m.score DESC, e.id LIMIT :limit;

-- name: insert_cluster
INSERT INTO clusters (id, space, name, centre, reach, label, enrichment, provenance, made)
VALUES (:id, :space, :name, :centre, :reach, NULL, NULL, :provenance, :made);

-- name: move_cluster
UPDATE clusters SET centre = :centre, reach = :reach WHERE id = :id;

-- name: drop_cluster
DELETE FROM clusters WHERE id = :id;

-- name: drop_members
DELETE FROM cluster_members WHERE cluster_id = :id;

-- name: insert_member
-- A vector that was replaced in the meantime is a new one, and is looked at the next time.
INSERT INTO cluster_members (embedding_id, cluster_id, score)
SELECT :embedding_id, :cluster_id, :score WHERE EXISTS (SELECT 1 FROM embeddings WHERE id = :embedding_id)
ON CONFLICT (embedding_id) DO UPDATE SET cluster_id = excluded.cluster_id, score = excluded.score;

-- name: looked_at_space
INSERT INTO cluster_spaces (space, newest, loose, smallest, grouped, looked)
VALUES (:space, :newest, :loose, :smallest, :grouped, :looked)
ON CONFLICT (space) DO UPDATE SET newest = excluded.newest, loose = excluded.loose, smallest = excluded.smallest,
    grouped = excluded.grouped, looked = excluded.looked;

-- name: label_cluster
UPDATE clusters SET name = :name, label = :label, enrichment = :enrichment, provenance = :provenance WHERE id = :id;

-- name: clusters_looked
SELECT coalesce(max(looked), 0) AS looked FROM cluster_spaces;

-- name: passages_of_events
SELECT r.event_id, p.body FROM results r JOIN passages p ON p.rowid BETWEEN r.id << 20 AND r.id << 20 | 1048575
WHERE r.event_id IN (SELECT value FROM json_each(:ids)) LIMIT :limit;

-- name: count_passages
SELECT count(*) AS passages, (SELECT count(*) FROM passages WHERE passages MATCH :match) AS matching FROM passages;

-- name: notify_arrival
-- A new arrival of a content that was worked off before, or that nobody works on. One that comes again after a crash is
-- not new, and was told.
INSERT OR REPLACE INTO notices (sink, arrival_id)
SELECT :sink, id FROM arrivals
WHERE source = :source AND origin = :origin AND revision = :revision AND event_id = :event_id AND seen = :seen
  AND NOT EXISTS (SELECT 1 FROM open_jobs WHERE open_jobs.event_id = arrivals.event_id);

-- name: notify_event
-- The last job of an event is finished: each of its arrivals is told.
INSERT OR REPLACE INTO notices (sink, arrival_id)
SELECT :sink, id FROM arrivals
WHERE event_id = :event_id AND state = 'accepted'
  AND NOT EXISTS (SELECT 1 FROM open_jobs WHERE open_jobs.event_id = :event_id);

-- name: notice_due
SELECT n.id, n.attempts, a.source, a.origin, a.event_id FROM notices n JOIN arrivals a ON a.id = n.arrival_id
WHERE n.sink = :sink AND n.set_aside = 0 AND n.not_before <= :now ORDER BY n.id LIMIT 1;

-- name: notice_next
SELECT min(not_before) AS at FROM notices WHERE sink = :sink AND set_aside = 0;

-- name: notice_told
DELETE FROM notices WHERE id = :id;

-- name: notice_failed
UPDATE notices SET attempts = :attempts, not_before = :not_before, error = :error, set_aside = :set_aside WHERE id = :id;

-- name: notices_by_sink
-- `error` is the oldest one that is still being tried again.
SELECT sink, sum(set_aside = 0) AS owed, sum(set_aside) AS set_aside,
       coalesce((SELECT error FROM notices first WHERE first.sink = notices.sink AND first.set_aside = 0
                 AND first.error != '' ORDER BY first.id LIMIT 1), '') AS error
FROM notices GROUP BY sink;

-- name: notices_of_event
SELECT n.sink, n.attempts, n.not_before, n.error, n.set_aside FROM notices n JOIN arrivals a ON a.id = n.arrival_id
WHERE a.event_id = :event_id ORDER BY n.sink, n.id;

-- name: notices_forget
-- Of sinks that are not installed any more.
DELETE FROM notices WHERE sink NOT IN (SELECT value FROM json_each(:installed));

-- name: is_taken
SELECT 1 AS taken FROM arrivals WHERE source = :source AND origin = :origin AND revision = :revision LIMIT 1;

-- name: plugin_records
SELECT plugin, done, failed, in_a_row, seconds, memory_mb, notes, off, why, since FROM plugin_records;

-- name: remember_plugin
INSERT OR REPLACE INTO plugin_records (plugin, done, failed, in_a_row, seconds, memory_mb, notes, off, why, since)
VALUES (:plugin, :done, :failed, :in_a_row, :seconds, :memory_mb, :notes, :off, :why, :since);

-- name: events_waiting_for
SELECT e.* FROM jobs j JOIN events e ON e.id = j.event_id WHERE j.plugin = :plugin AND j.state = 'queued';

-- name: owe_waiting_for
-- A plugin was switched off: events that waited for it alone are finished, as far as they can be.
INSERT INTO deliveries (arrival_id, sink)
SELECT id, :sink FROM arrivals
WHERE state = 'accepted' AND event_id IN (SELECT event_id FROM jobs WHERE plugin = :plugin AND state = 'queued')
  AND NOT EXISTS (SELECT 1 FROM open_jobs WHERE open_jobs.event_id = arrivals.event_id)
ON CONFLICT (arrival_id, sink) DO UPDATE SET times = times + 1;

-- name: passages_around
SELECT rowid AS id, body, begins, ends FROM passages WHERE rowid BETWEEN :first AND :last ORDER BY rowid;

-- name: first_passages
-- Of events, in the order of the results and of their passages.
SELECT p.rowid AS id, p.begins, p.ends, r.type, r.event_id
FROM results r JOIN passages p ON p.rowid BETWEEN r.id << 20 AND r.id << 20 | 1048575
WHERE r.event_id IN (SELECT value FROM json_each(:events)) ORDER BY r.id, p.rowid LIMIT :limit;
