"""The SQL for records is made and takes the records, whatever they are called and whatever the model says."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from random import Random
from typing import Any

import pytest

from plugins.llm.results import FieldSaid, StorageSaid
from plugins.llm.samples import Sample
from plugins.llm.storage import schema_of_records, table_name, values_of

ODD_NAMES = [
    "id", "select", "group by", 'a"b', "a'b", "Name", "name", "NAME", "", "ünï", "日本", "a.b", "a\0b", "x" * 300, "$",
    "_", "1st", "rowid", "document", "; DROP TABLE x --", "tab\tname", "new\nline", "🙂",
]  # fmt: skip


def odd_value(random: Random, depth: int = 0) -> Any:
    kinds = 9 if depth < 3 else 7
    match random.randrange(kinds):
        case 0:
            return random.choice([0, 1, -1, 2**63 - 1, 2**63, -(2**70)])
        case 1:
            return random.choice([0.5, -1e300, 1e-300])
        case 2:
            return random.choice(["", "x", 'a"b', "'; DROP TABLE x; --", "日本", "\ud800", "nul\0"])
        case 3 | 4:
            return random.choice([True, False])
        case 5 | 6:
            return None
        case 7:
            return [odd_value(random, depth + 1) for _ in range(random.randrange(4))]
        case _:
            return {name: odd_value(random, depth + 1) for name in random.sample(ODD_NAMES, 2)}


def shape(random: Random) -> list[dict[str, Any]]:
    """A handful of records with some fields in common, of odd names; half of the shapes have a type for each field."""
    names = random.sample(ODD_NAMES, random.randint(1, 8))
    steady = {name: odd_value(random) for name in names}
    rows = []
    for _ in range(random.randint(1, 6)):
        kept = [name for name in names if random.random() < 0.8] or names[:1]
        rows.append({name: steady[name] if random.random() < 0.5 else odd_value(random) for name in kept})
    return rows


def said_of(random: Random, rows: list[dict[str, Any]]) -> StorageSaid:
    """What a model may say: right, wrong, made up, hostile."""
    names = [name[:120] for name in dict.fromkeys(name for row in rows for name in row)]
    fields = [FieldSaid(name=name, type=random.choice(["integer", "real", "text", "json"])) for name in names]
    return StorageSaid(
        table_name=random.choice(['x"; DROP TABLE y; --', "sqlite_master", "1", "日本", "race_results"]),
        storage_type=random.choice(["sql", "sql", "jsonb", "document"]),
        reasoning="because",
        fields=(*fields, FieldSaid(name="made up", type="text")),
        indexes=(*names[:6], "nothing", '") ; DROP TABLE x; --'),
    )


@pytest.mark.parametrize("seed", range(50))
def test_the_statements_of_any_shape_are_executed_and_take_the_rows(seed):
    random = Random(seed)
    rows = shape(random)
    schema = schema_of_records(said_of(random, rows), Sample(rows), "my file")
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(schema.ddl)
        database.executemany(schema.insert, [values_of(schema, row) for row in rows])
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()
        (count,) = database.execute(f'SELECT count(*) FROM "{schema.table_name}"').fetchone()
    assert (tables, count) == (1, len(rows))
    assert schema.model_validate(schema.model_dump()) == schema


def test_columns_are_what_the_records_can_hold_and_descriptions_the_models():
    rows = [{"bib": 256, "time": 12.5, "name": "Ana", "done": True, "splits": [1, 2]}, {"bib": 7, "time": 9}]
    said = StorageSaid(
        table_name="Race Results!", storage_type="sql", reasoning="They are flat.",
        fields=(
            FieldSaid(name="bib", type="text", description="number on the shirt"),
            FieldSaid(name="time", type="integer"),
        ),
        indexes=("bib", "splits"),
    )  # fmt: skip
    schema = schema_of_records(said, Sample(rows, records=2), "x")
    assert schema.table_name == "race_results"
    assert {column.name: column.type for column in schema.columns} == {
        "bib": "integer", "time": "real", "name": "text", "done": "boolean", "splits": "json",
    }  # fmt: skip
    assert schema.fields["bib"] == "number on the shirt"
    assert schema.indexes == ("bib",)
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(schema.ddl)
        database.executemany(schema.insert, [values_of(schema, row) for row in rows])
        first, second = database.execute("SELECT * FROM race_results").fetchall()
    assert first == (256, 12.5, "Ana", 1, "[1, 2]")
    assert second == (7, 9.0, None, None, None)


def test_documents_are_kept_whole_and_indexed_by_their_fields():
    rows = [{"kind": "a", "more": {"x": [1]}}, {"kind": "b", "other": 1}]
    said = StorageSaid(table_name="things", storage_type="jsonb", indexes=("kind",))
    schema = schema_of_records(said, Sample(rows), "x")
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(schema.ddl)
        database.executemany(schema.insert, [values_of(schema, row) for row in rows])
        query = "SELECT document FROM things WHERE json_extract(document, '$.kind') = 'b'"
        assert json.loads(database.execute(query).fetchone()[0]) == rows[1]
        plan = str(database.execute(f"EXPLAIN QUERY PLAN {query}").fetchall())
    assert "things_kind" in plan


def test_fields_that_a_model_made_up_are_told_and_left_out():
    said = StorageSaid(table_name="t", storage_type="sql", fields=(FieldSaid(name="ghost", type="text"),))
    schema = schema_of_records(said, Sample([{"a": 1}]), "x")
    assert [column.field for column in schema.columns] == ["a"]
    assert "ghost" in schema.problems[0]


def test_a_table_always_has_a_name():
    assert table_name("Race Results", "x") == "race_results"
    assert table_name("🙂", "my-file 2") == "my_file_2"
    assert table_name("", "🙂") == "records"
    assert table_name("2026", "x") == "t_2026"
    assert table_name("sqlite_master", "x") == "t_sqlite_master"
