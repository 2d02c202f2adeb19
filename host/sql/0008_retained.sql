-- What this host has left with the broker for newcomers, so that it can be taken back when it is true no more: an inbox
-- that is gone, a host with another name.
--   remembered → published → taken back with an empty message, and forgotten
CREATE TABLE retained (
    topic TEXT PRIMARY KEY,
    note  TEXT NOT NULL                       -- what is needed to take it back: of a discovery message, its components
) STRICT, WITHOUT ROWID;
