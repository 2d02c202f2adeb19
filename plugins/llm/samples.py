"""Samples of structured data: JSON, JSON Lines, CSV, YAML, of any size, read as if somebody meant harm.

Nothing large is loaded: of a long file its beginning is read, and of JSON Lines and CSV a line here and there.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from hooks import BadInput

WHOLE = 8 * 1024 * 1024  # a JSON file up to this size is read at once
WHOLE_YAML = 1024 * 1024
HEAD = 1024 * 1024  # of a larger JSON file, this much of its beginning
LONGEST_LINE = 1024 * 1024
BEGINNING = 4 * 1024 * 1024  # of JSON Lines and CSV, read line by line
PLACES = 16  # further on in the file, where a line each is read
DEEPEST = 64
ROWS = 1000
COLUMNS = 2000
DELIMITERS = ",;\t|"
STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
BRACKETS = re.compile(rb"[\[\]{}]")
NUMBER = re.compile(r"[+-]?(?:\d{1,18}|\d{0,17}\.\d{1,18}(?:[eE][+-]?\d{1,3})?)")
TRUTH = {"true": True, "false": False, "yes": True, "no": False}


@dataclass(slots=True)
class Sample:
    """Some records of a file. `records` is how many it has, None where nobody counted; `problems` are sentences."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    records: int | None = None
    problems: list[str] = field(default_factory=list)

    def note(self, problem: str) -> None:
        """Remember a problem, once."""
        if problem not in self.problems and len(self.problems) < 20:
            self.problems.append(problem)


def sample_of(path: Path, media_type: str) -> Sample:
    """Records of a file. Raises BadInput that says what is wrong with it."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        sample = Sample()
        if media_type == "application/jsonl":
            _json_lines(file, size, sample)
        elif media_type in ("text/csv", "text/tab-separated-values"):
            _csv(file, size, sample, media_type)
        elif media_type == "application/yaml":
            _yaml(file, size, sample)
        else:
            _json(file, size, sample)
    if not sample.rows:
        raise BadInput("There is no record in it.", " ".join(sample.problems))
    return sample


# -- JSON ----------------------------------------------------------------------------------------------------------


def _json(file: BinaryIO, size: int, sample: Sample) -> None:
    if size <= WHOLE:
        content = file.read(WHOLE)
        try:
            _take(_loads(content, sample), sample)
            return
        except BadInput:
            if not _has_lines(content):  # several values, one a line: JSON Lines under another name
                raise
        file.seek(0)
        return _json_lines(file, size, sample)
    rows = _first_elements(_text(file.read(HEAD), sample), sample)
    if not rows:
        raise BadInput(f"It is larger than {WHOLE >> 20} MB and no list of records.", "Store it as JSON Lines.")
    sample.note(f"Only its first {len(rows)} records were looked at.")
    sample.rows = [_record(row) for row in rows]


def _loads(content: bytes, sample: Sample) -> Any:
    depth = _depth(content)
    if depth > DEEPEST:
        raise BadInput(f"It is nested {depth} levels deep; {DEEPEST} are the limit.")
    try:
        return _decoder(sample).decode(_text(content, sample).strip())
    except (ValueError, RecursionError) as error:
        raise BadInput(f"It is no JSON: {str(error)[:200]}.") from error


def _decoder(sample: Sample) -> json.JSONDecoder:
    def constant(name: str) -> None:
        sample.note(f"{name} is no JSON; it was taken as null.")

    def number(text: str) -> float | None:
        value = float(text)
        if math.isinf(value):
            sample.note(f"The number {text[:40]} is too large; it was taken as null.")
            return None
        return value

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found):
            names = [name for name, _ in found]
            twice = next(name for name in names if names.count(name) > 1)
            sample.note(f"The key {twice[:80]!r} occurs twice in a record; the last one counts.")
        return made

    return json.JSONDecoder(object_pairs_hook=pairs, parse_constant=constant, parse_float=number)


def _depth(content: bytes) -> int:
    depth = deepest = 0
    for bracket in BRACKETS.findall(STRINGS.sub(b"", content)):
        depth += 1 if bracket in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _first_elements(text: str, sample: Sample) -> list[Any]:
    """The elements of the first list in the beginning of a JSON text, as far as they are whole."""
    start = re.match(r'\s*(?:\{\s*"[^"]{0,200}"\s*:\s*)?\[\s*', text)
    rows: list[Any] = []
    place = start.end() if start else len(text)
    decoder = _decoder(sample)
    while place < len(text) and len(rows) < ROWS:
        try:
            row, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            break
        if _depth(text[place - 1 : place].encode()) <= DEEPEST:
            rows.append(row)
        separator = re.compile(r"\s*,\s*").match(text, place)
        if separator is None:
            break
        place = separator.end()
    return rows


def _has_lines(content: bytes) -> bool:
    lines = content.split(b"\n", 2)
    return len(lines) > 1 and lines[0].strip()[:1] in (b"{", b"[") and lines[0].strip()[-1:] in (b"}", b"]")


def _json_lines(file: BinaryIO, size: int, sample: Sample) -> None:
    bad = 0
    for line in _lines(file, size, sample):
        if not line.strip():
            continue
        try:
            sample.rows.append(_record(_loads(line, sample)))
        except BadInput as error:
            bad += 1
            first = str(error)
            sample.note(f"A line was left out: {first}")
    if not sample.rows and bad:
        raise BadInput(f"None of the {bad} lines that were read is a record.", " ".join(sample.problems[:2]))


# -- lines ---------------------------------------------------------------------------------------------------------


def _lines(file: BinaryIO, size: int, sample: Sample) -> Iterator[bytes]:
    """Lines of the beginning, and some from further on; what is longer than a line may be is left out."""
    number = 0
    while file.tell() < BEGINNING and number < ROWS // 2:
        line = file.readline(LONGEST_LINE)
        if not line:
            sample.records = number
            return
        number += 1
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            sample.note(f"Line {number} is longer than {LONGEST_LINE >> 20} MB and was left out.")
            break
        yield line
    begun = file.tell()
    if begun < size:
        sample.note("Only some of its records were looked at: the first ones, and some from further on.")
    for place in range(1, PLACES + 1):
        file.seek(begun + (size - begun) * place // (PLACES + 1))
        broken = file.readline(LONGEST_LINE)
        line = file.readline(LONGEST_LINE) if broken.endswith(b"\n") else b""
        if line.endswith(b"\n"):
            yield line


def _text(content: bytes, sample: Sample) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(content) - 4 or "unexpected end" not in error.reason:
            sample.note("Some of it is no UTF-8; what cannot be read was replaced.")
        return content.decode("utf-8-sig", "replace")


# -- CSV -----------------------------------------------------------------------------------------------------------


def _csv(file: BinaryIO, size: int, sample: Sample, media_type: str) -> None:
    lines = [_text(line, sample).replace("\0", "") for line in _lines(file, size, sample)]
    delimiter = "\t" if media_type == "text/tab-separated-values" else _delimiter(lines[:20])
    try:
        found = [row for row in csv.reader(lines, delimiter=delimiter) if row]
    except csv.Error as error:
        raise BadInput(f"It is no CSV: {error}.") from error
    if not found:
        return
    names, body = _header(found)
    if len(names) > COLUMNS:
        raise BadInput(f"It has {len(names)} columns; {COLUMNS} are the limit.")
    ragged = sum(len(row) != len(names) for row in body)
    if ragged:
        sample.note(
            f"{ragged} of {len(body)} rows do not have {len(names)} values; missing ones are null, others left out."
        )
    padding = [""] * len(names)
    sample.rows = [dict(zip(names, map(_value, [*row, *padding]), strict=False)) for row in body]
    sample.records = len(body) if sample.records is not None else None


def _delimiter(lines: list[str]) -> str:
    """The mark that parts the most lines into equally many values, more than one."""

    def score(mark: str) -> tuple[int, int]:
        widths = [line.count(mark) for line in lines]
        common = max(set(widths), key=widths.count, default=0)
        return (widths.count(common) if common else 0, common)

    return max(DELIMITERS, key=score)


def _header(rows: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """The names of the columns, of the first row where that looks like names, and the other rows."""
    first = [name.strip() for name in rows[0]]
    named = len(rows) > 1 and not any(NUMBER.fullmatch(name) for name in first) and any(first)
    names: list[str] = []
    for number, name in enumerate(first if named else [""] * len(first), 1):
        unique = name or f"column_{number}"
        names.append(unique if unique not in names else f"{unique}_{number}")
    return names, rows[1:] if named else rows


def _value(text: str) -> Any:
    text = text.strip()
    if not text:
        return None
    if text.lower() in TRUTH:
        return TRUTH[text.lower()]
    if NUMBER.fullmatch(text) and not re.match(r"[+-]?0\d", text):  # leading zeros are codes, as of post
        return float(text) if "." in text else int(text)
    return text


# -- YAML ----------------------------------------------------------------------------------------------------------


def _yaml(file: BinaryIO, size: int, sample: Sample) -> None:
    import yaml

    if size > WHOLE_YAML:
        raise BadInput(f"It is larger than {WHOLE_YAML >> 20} MB.", "Store it as JSON Lines.")
    text = _text(file.read(WHOLE_YAML), sample)
    try:
        _check_events(yaml.parse(text, Loader=yaml.SafeLoader))
        values = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise BadInput(f"It is no YAML that can be read safely: {str(error).splitlines()[0][:200]}.") from error
    for value in values:
        _take(_as_json(value, sample), sample)


def _check_events(events: Iterator[Any]) -> None:
    """Refuse what grows when it is read: references, and deep nesting."""
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith(("MappingStartEvent", "SequenceStartEvent"))
        depth -= kind.endswith(("MappingEndEvent", "SequenceEndEvent"))
        if kind == "AliasEvent":
            raise BadInput("It has references (*name), which are not followed.", "Write the values out.")
        if depth > DEEPEST:
            raise BadInput(f"It is nested more than {DEEPEST} levels deep.")


def _as_json(value: Any, sample: Sample) -> Any:
    """The same in JSON's types: dates and keys as text."""
    if isinstance(value, dict):
        return {str(key): _as_json(one, sample) for key, one in value.items()}
    if isinstance(value, list | tuple | set):
        return [_as_json(one, sample) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        sample.note(f"{value} is no JSON; it was taken as null.")
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


# -- records -------------------------------------------------------------------------------------------------------


def _take(value: Any, sample: Sample) -> None:
    """Records of a value: of a list its elements; of an object with one list of objects those; else the value."""
    if isinstance(value, dict):
        lists = [
            one for one in value.values() if isinstance(one, list) and one and all(isinstance(x, dict) for x in one)
        ]
        value = lists[0] if len(lists) == 1 else [value]
    found = value if isinstance(value, list) else [value]
    sample.records = (sample.records or 0) + len(found)
    sample.rows += [_record(one) for one in found[: ROWS - len(sample.rows)]]


def _record(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {"value": value}
