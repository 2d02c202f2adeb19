-- A cluster is a group of vectors of one space that lie close together.
--   found → labelled   one call of a model, if there is one that performs it
--   labelled → labelled   it is found again by its members, and keeps its number and its name
-- One that is not found again goes, with its row.
CREATE TABLE clusters (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    space      TEXT NOT NULL,
    name       TEXT NOT NULL UNIQUE,
    centre     BLOB NOT NULL,                 -- float32, little-endian, unit length
    reach      REAL NOT NULL,                 -- how similar to the centre a vector must be to join
    label      TEXT,                          -- JSON: name, description, tags, category, confidence; NULL until then
    enrichment TEXT,                          -- JSON: hierarchy and more; NULL where no model said any
    provenance TEXT NOT NULL,                 -- JSON: what grouped, labelled and enriched it, and by which pictures
    made       REAL NOT NULL
) STRICT;

-- A vector that was looked at and is in no row here is noise.
CREATE TABLE cluster_members (
    embedding_id INTEGER PRIMARY KEY REFERENCES embeddings (id) ON DELETE CASCADE,
    cluster_id   INTEGER NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    score        REAL NOT NULL                -- cosine similarity with the centre
) STRICT;

CREATE INDEX cluster_members_cluster ON cluster_members (cluster_id, score);

-- How far the vectors of a space were looked at: those up to `newest` are placed, or noise.
CREATE TABLE cluster_spaces (
    space    TEXT PRIMARY KEY,
    newest   INTEGER NOT NULL,
    loose    INTEGER NOT NULL,                -- how many found no cluster since all vectors were grouped
    smallest INTEGER NOT NULL,                -- how many of them are worth grouping all again
    grouped  REAL NOT NULL,
    looked   REAL NOT NULL
) STRICT, WITHOUT ROWID;
