-- A small content that came as a message rests here, committed with its event: a file of its own would cost more than all
-- the rest of taking it in.
--   resting → also a file in the library, when a job or a sidecar needs it there
--   resting → only there, once that file is durable: with the delivery of its sidecar
CREATE TABLE contents (
    event_id TEXT PRIMARY KEY REFERENCES events (id) ON DELETE CASCADE,
    body     BLOB NOT NULL
) STRICT;
