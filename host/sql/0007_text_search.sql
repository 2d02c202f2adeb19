-- Words that can be searched. The passages of a result, what of it is text and at which seconds, are told by
-- host/sql/functions.py, as [[body, begins, ends], …]; a passage's number is that of its result and its place: id << 20 | place.
CREATE VIRTUAL TABLE passages USING fts5 (
    body,
    begins UNINDEXED,                         -- seconds from the beginning of the recording; NULL for what has no time
    ends UNINDEXED,
    tokenize = "unicode61 remove_diacritics 2 categories 'L* N* Co Mn Mc'"
);

-- In the transaction of the results themselves, so that nothing is found that is not there, and nothing is missing.
-- What has neither of two names in it has no passages, and is not read for them.
CREATE TRIGGER passages_come AFTER INSERT ON results
WHEN instr(NEW.data, '"text"') OR instr(NEW.data, '"labels"')
BEGIN
    INSERT INTO passages (rowid, body, begins, ends)
    SELECT NEW.id << 20 | key, value ->> 0, value ->> 1, value ->> 2 FROM json_each(passages_of(NEW.data));
END;

CREATE TRIGGER passages_change AFTER UPDATE OF data ON results
BEGIN
    DELETE FROM passages WHERE rowid BETWEEN OLD.id << 20 AND OLD.id << 20 | 1048575;
    INSERT INTO passages (rowid, body, begins, ends)
    SELECT NEW.id << 20 | key, value ->> 0, value ->> 1, value ->> 2 FROM json_each(passages_of(NEW.data));
END;

CREATE TRIGGER passages_go AFTER DELETE ON results
WHEN instr(OLD.data, '"text"') OR instr(OLD.data, '"labels"')
BEGIN
    DELETE FROM passages WHERE rowid BETWEEN OLD.id << 20 AND OLD.id << 20 | 1048575;
END;

-- Of the results that are there already.
INSERT INTO passages (rowid, body, begins, ends)
SELECT r.id << 20 | key, value ->> 0, value ->> 1, value ->> 2
FROM results r, json_each(passages_of(r.data));
