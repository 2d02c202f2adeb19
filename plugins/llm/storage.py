"""SQL for records: a model names and describes, the records decide what a column can hold, the program writes the SQL.

Every name is quoted; nothing of what a model said stands in a statement otherwise. For SQLite (https://sqlite.org/lang.html).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from plugins.llm.results import Column, DataSchema, FieldType, StorageSaid
from plugins.llm.samples import Sample

MOST_COLUMNS = 200
LONGEST_NAME = 60
DOCUMENT = "document"
LARGEST_INTEGER = 2**63
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SQL_TYPES: Mapping[FieldType, str] = {
    "integer": "INTEGER", "real": "REAL", "text": "TEXT", "boolean": "INTEGER", "json": "TEXT",
}  # fmt: skip


def schema_of_records(said: StorageSaid, sample: Sample, fallback: str) -> DataSchema:
    """The table for these records, as a model described it and as they allow; `fallback` names one without a name."""
    described = {field.name: field for field in said.fields}
    columns = _columns(sample.rows, described)
    problems = list(sample.problems)
    documents = said.storage_type != "sql"
    if len(columns) > MOST_COLUMNS or not columns:
        documents = True
        problems.append(f"The records have {len(columns)} fields; they are kept as documents.")
    unknown = [name for name in described if name not in {column.field for column in columns}]
    if unknown:
        problems.append(f"The model named fields that no sample has: {', '.join(unknown)[:200]}.")
    table = table_name(said.table_name, fallback)
    indexes = [
        name for name in dict.fromkeys(said.indexes) if any(c.field == name and c.type != "json" for c in columns)
    ]
    write = _documents if documents else _table
    ddl, insert = write(table, columns, indexes)
    return DataSchema(
        table_name=table, storage_type="jsonb" if documents else "sql", reasoning=said.reasoning,
        fields={column.field: column.description for column in columns}, columns=tuple(columns), indexes=tuple(indexes),
        ddl=ddl, insert=insert, samples=len(sample.rows), records=sample.records, problems=tuple(problems),
    )  # fmt: skip


def values_of(schema: DataSchema, row: Mapping[str, Any]) -> list[Any]:
    """What `insert` of a schema takes for a record."""
    if schema.storage_type == "jsonb":
        return [json.dumps(row)]
    return [_bound(row.get(column.field), column.type) for column in schema.columns]


def table_name(said: str, fallback: str) -> str:
    """A name of small letters, digits and underscores, of what was said, else of the fallback."""
    for text in (said, fallback, "records"):
        name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:LONGEST_NAME].strip("_")
        if name:
            return f"t_{name}" if name[0].isdigit() or name.startswith("sqlite") else name
    raise AssertionError("the last one has letters")


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def _columns(rows: Sequence[Mapping[str, Any]], described: Mapping[str, Any]) -> list[Column]:
    columns: list[Column] = []
    taken: set[str] = set()
    for field in dict.fromkeys(name for row in rows for name in row):
        found = _type_of([row[field] for row in rows if row.get(field) is not None])
        about = described.get(field)
        if found == "integer" and about is not None and about.type == "real":
            found = "real"
        name = _free(field, taken)
        columns.append(Column(name=name, field=field, type=found, description=about.description if about else ""))
    return columns


def _free(field: str, taken: set[str]) -> str:
    """A column's name that SQLite can tell from the others: it does not see small from capital letters."""
    plain = field.replace("\0", "").encode("utf-8", "replace").decode()[:120] or "field"
    name, number = plain, 2
    while name.lower() in taken:
        name, number = f"{plain}_{number}", number + 1
    taken.add(name.lower())
    return name


def _type_of(values: Sequence[Any]) -> FieldType:
    """What can hold all of these values."""
    if any(isinstance(value, dict | list) for value in values):
        return "json"
    if values and all(isinstance(value, bool) for value in values):
        return "boolean"
    if values and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        if any(isinstance(value, float) for value in values):
            return "real"
        return "integer" if all(-LARGEST_INTEGER <= value < LARGEST_INTEGER for value in values) else "text"
    return "text"


def _bound(value: Any, kind: FieldType) -> Any:
    if value is None:
        return None
    if kind == "json":
        return json.dumps(value)
    if kind == "text":
        text = value if isinstance(value, str) else json.dumps(value)
        return text.encode("utf-8", "replace").decode()
    return float(value) if kind == "real" else int(value)


def _table(table: str, columns: Sequence[Column], indexes: Sequence[str]) -> tuple[str, str]:
    lines = [f"    {quoted(column.name)} {SQL_TYPES[column.type]}{_check(column)}" for column in columns]
    made = [f"CREATE TABLE {quoted(table)} (\n" + ",\n".join(lines) + "\n);"]
    for column in columns:
        if column.field in indexes:
            made.append(f"CREATE INDEX {quoted(f'{table}_{column.name}')} ON {quoted(table)} ({quoted(column.name)});")
    places = ", ".join("?" * len(columns))
    names = ", ".join(quoted(column.name) for column in columns)
    return "\n".join(made) + "\n", f"INSERT INTO {quoted(table)} ({names}) VALUES ({places})"


def _check(column: Column) -> str:
    name = quoted(column.name)
    checks = {"boolean": f" CHECK ({name} IN (0, 1))", "json": f" CHECK ({name} IS NULL OR json_valid({name}))"}
    return checks.get(column.type, "")


def _documents(table: str, columns: Sequence[Column], indexes: Sequence[str]) -> tuple[str, str]:
    made = [
        f"CREATE TABLE {quoted(table)} (\n    id INTEGER PRIMARY KEY,\n"
        f"    {DOCUMENT} TEXT NOT NULL CHECK (json_valid({DOCUMENT}))\n);"
    ]
    for column in columns:
        if column.field in indexes and PLAIN.fullmatch(column.field):
            place = f"json_extract({DOCUMENT}, '$.{column.field}')"
            made.append(f"CREATE INDEX {quoted(f'{table}_{column.name}')} ON {quoted(table)} ({place});")
    return "\n".join(made) + "\n", f"INSERT INTO {quoted(table)} ({DOCUMENT}) VALUES (?)"
