-- What models were seen to take, so that what plugins declare is the first guess only.
CREATE TABLE costs (
    plugin       TEXT NOT NULL,
    model        TEXT NOT NULL,
    settings     TEXT NOT NULL,               -- hash of the plugin's settings
    variant      TEXT NOT NULL,               -- step of the plugin's ladder against an out-of-memory, '' for none
    device       TEXT NOT NULL,               -- UUID of a GPU, else the device's name
    memory_mb    REAL,                        -- highest peak
    load_seconds REAL,                        -- of the last loading
    seen         REAL NOT NULL,
    PRIMARY KEY (plugin, model, settings, variant, device)
) STRICT, WITHOUT ROWID;
