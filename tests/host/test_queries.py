"""The journal's named statements keep the promises written beside the tables, in any order of events."""

from __future__ import annotations

import json
import sqlite3
from importlib import resources
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from host.journal import SQL, Statement, _scripts
from host.queues import BACKGROUND, NORMAL
from host.sql.functions import passages_of
from tests.host.journal_rows import SINK, arrival, arrives, event, fails, finishes, refusal, requeues, retries

NAMES = ("a", "b", "c")
PLUGINS = ("clip", "metadata", "ocr")


class Database:
    """The tables in memory, and the host's statements on them."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect(":memory:", isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.create_function("passages_of", 1, passages_of, deterministic=True)
        for script in _scripts():
            self._connection.executescript(resources.files("host.sql").joinpath(script).read_text())

    def write(self, statements: list[Statement]) -> None:
        for statement in statements:
            self._connection.executemany(SQL[statement.name], statement.rows)

    def rows(self, name: str, **parameters: Any) -> list[dict[str, Any]]:
        return [dict(row) for row in self._connection.execute(SQL[name], parameters)]

    def owed(self) -> list[dict[str, Any]]:
        return self.rows("owed", sink=SINK, limit=-1)

    def deliver(self, arrival_id: int, times: int) -> None:
        row = {"arrival_id": arrival_id, "sink": SINK, "times": times}
        self.write([Statement("delivered", [row])])

    def seq(self, name: str, plugin: str) -> int:
        return next(row["seq"] for row in self.rows("jobs_of_event", event_id=name) if row["plugin"] == plugin)

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def database():
    database = Database()
    yield database
    database.close()


# -- jobs: the transitions of 0001_schema.sql --------------------------------------------------------------------------


class Jobs(RuleBasedStateMachine):
    """Whatever happens to jobs, the tables say what a plain record of it says."""

    def __init__(self) -> None:
        super().__init__()
        self.database = Database()
        self.jobs: dict[tuple[str, str], dict[str, Any]] = {}
        self.results: dict[tuple[str, str], list[str]] = {}
        self.arrived: dict[tuple[str, str], int] = {}
        self.owed: set[int] = set()
        self.serial = 0

    def teardown(self) -> None:
        self.database.close()

    def _one(self, data: st.DataObject, *states: str) -> tuple[str, str]:
        return data.draw(st.sampled_from(sorted(key for key, job in self.jobs.items() if job["state"] in states)))

    def _is_open(self, name: str) -> bool:
        return any(job["state"] == "queued" for (owner, _), job in self.jobs.items() if owner == name)

    def _settle(self, name: str) -> None:
        """The rule: owed exactly when no job of the event is left."""
        if not self._is_open(name):
            self.owed |= {number for (owner, _), number in self.arrived.items() if owner == name}

    def _has(*states: str) -> Any:  # type: ignore[misc]  # a precondition, not a method
        return precondition(lambda self: any(job["state"] in states for job in self.jobs.values()))

    @initialize(data=st.data())
    def start(self, data: st.DataObject) -> None:
        self.arrives(data, "a", list(PLUGINS), "a-1.png")

    @rule(
        data=st.data(),
        name=st.sampled_from(NAMES),
        plugins=st.lists(st.sampled_from(PLUGINS), unique=True),
        origin=st.sampled_from(["1.png", "2.png", "3.png"]),
    )
    def arrives(self, data: st.DataObject, name: str, plugins: list[str], origin: str) -> None:
        self.database.write(arrives(name, origin, plugins))
        for plugin in plugins:
            self.jobs.setdefault((name, plugin), {"state": "queued", "attempts": 0, "alone": 0, "error": False})
        number = self.arrived.setdefault((name, origin), len(self.arrived) + 1)
        if not self._is_open(name):
            self.owed.add(number)

    @_has("queued")
    @rule(data=st.data(), count=st.integers(0, 3))
    def finishes(self, data: st.DataObject, count: int) -> None:
        key = self._one(data, "queued")
        self.serial += 1
        self.database.write(finishes(self.database.seq(*key), *key, f"{self.serial}", count))
        self.jobs[key] |= {"state": "done", "error": False}
        self.results[key] = [f"{self.serial}"] * count
        self._settle(key[0])

    @_has("queued")
    @rule(data=st.data(), attempts=st.integers(1, 2))
    def is_tried_again(self, data: st.DataObject, attempts: int) -> None:
        key = self._one(data, "queued")
        self.database.write(retries(self.database.seq(*key), attempts))
        self.jobs[key] |= {"attempts": attempts, "alone": 1, "error": True}

    @_has("queued")
    @rule(data=st.data(), attempts=st.integers(1, 3))
    def fails(self, data: st.DataObject, attempts: int) -> None:
        key = self._one(data, "queued")
        self.database.write(fails(self.database.seq(*key), key[0], attempts))
        self.jobs[key] |= {"state": "failed", "attempts": attempts, "error": True}
        self._settle(key[0])

    @_has("failed", "done")
    @rule(data=st.data())
    def is_requeued(self, data: st.DataObject) -> None:
        key = self._one(data, "failed", "done")
        self.database.write(requeues(self.database.seq(*key)))
        self.jobs[key] |= {"state": "queued", "attempts": 0, "alone": 0, "error": False}

    @precondition(lambda self: self.owed)
    @rule(data=st.data(), overtaken=st.booleans())
    def is_delivered(self, data: st.DataObject, overtaken: bool) -> None:
        row = data.draw(st.sampled_from(self.database.owed()))
        self.database.deliver(row["arrival_id"], row["times"] - overtaken)
        if not overtaken:
            self.owed.remove(row["arrival_id"])

    @invariant()
    def the_jobs_are_as_recorded(self) -> None:
        for name in NAMES:
            found = {(name, row["plugin"]): row for row in self.database.rows("jobs_of_event", event_id=name)}
            assert set(found) == {key for key in self.jobs if key[0] == name}
            for key, row in found.items():
                seen = {"state": row["state"], "attempts": row["attempts"], "alone": row["alone"]}
                assert {**seen, "error": row["error"] is not None} == self.jobs[key]
                assert (row["finished"] is None) == (row["state"] == "queued")

    @invariant()
    def each_plugin_is_given_its_queued_jobs_in_order(self) -> None:
        for plugin in PLUGINS:
            rows = self.database.rows("queued_jobs", plugin=plugin, priority=NORMAL, after=0, limit=-1)
            assert not self.database.rows("queued_jobs", plugin=plugin, priority=BACKGROUND, after=0, limit=-1)
            queued = {name for (name, owner), job in self.jobs.items() if owner == plugin and job["state"] == "queued"}
            assert {row["event_id"] for row in rows} == queued
            assert [row["seq"] for row in rows] == sorted(row["seq"] for row in rows)

    @invariant()
    def results_are_those_of_the_last_time(self) -> None:
        rows = self.database.rows("results_of_events", ids=json.dumps(NAMES))
        found: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            found.setdefault((row["event_id"], row["plugin"]), []).append(row["data"])
        assert found == {key: texts for key, texts in self.results.items() if texts}
        assert len(self.database.rows("vectors", space="space", after=0, limit=-1)) == len(rows)

    @invariant()
    def what_is_owed_is_what_is_finished_and_not_delivered(self) -> None:
        assert {row["arrival_id"] for row in self.database.owed()} == self.owed

    @invariant()
    def the_counts_agree(self) -> None:
        [counts] = self.database.rows("counts")
        states = [job["state"] for job in self.jobs.values()]
        assert (counts["queued"], counts["failed"]) == (states.count("queued"), states.count("failed"))
        assert (counts["arrivals"], counts["owed"]) == (len(self.arrived), len(self.owed))


TestJobs = Jobs.TestCase
TestJobs.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


# -- deliveries --------------------------------------------------------------------------------------------------------


def test_an_event_is_owed_only_when_its_last_job_is_finished(database):
    database.write(arrives("a", "1.png", ["clip", "ocr"]))
    database.write(finishes(database.seq("a", "clip"), "a", "clip", "text"))
    assert database.owed() == []
    database.write(fails(database.seq("a", "ocr"), "a", 3))
    assert [(row["origin"], row["event_id"], row["times"]) for row in database.owed()] == [("1.png", "a", 1)]


def test_every_arrival_of_an_event_is_owed(database):
    for origin in ("1.png", "2.png"):
        database.write(arrives("a", origin, ["clip"]))
    database.write(finishes(database.seq("a", "clip"), "a", "clip", "text"))
    assert [row["origin"] for row in database.owed()] == ["1.png", "2.png"]


def test_an_arrival_of_a_content_that_is_worked_off_is_owed_at_once_and_alone(database):
    database.write(arrives("a", "1.png", ["clip"]))
    database.write(finishes(database.seq("a", "clip"), "a", "clip", "text"))
    [first] = database.owed()
    database.deliver(first["arrival_id"], first["times"])
    database.write(arrives("a", "2.png", ["clip"]))
    assert [row["origin"] for row in database.owed()] == ["2.png"]


def test_an_event_that_no_plugin_takes_is_owed_at_once(database):
    database.write(arrives("a", "1.png", []))
    assert [row["origin"] for row in database.owed()] == ["1.png"]


def test_a_delivery_that_newer_results_overtook_settles_nothing(database):
    database.write(arrives("a", "1.png", ["clip"]))
    database.write(finishes(database.seq("a", "clip"), "a", "clip", "old"))
    [seen] = database.owed()
    database.write(requeues(database.seq("a", "clip")))
    database.write(finishes(database.seq("a", "clip"), "a", "clip", "new"))
    database.deliver(seen["arrival_id"], seen["times"])
    [still] = database.owed()
    database.deliver(still["arrival_id"], still["times"])
    assert database.owed() == []


def test_what_one_sink_was_given_another_is_still_owed(database):
    database.write(arrives("a", "1.png", ["clip"]))
    database.write(finishes(database.seq("a", "clip"), "a", "clip", "text"))
    database.write([Statement("owe_event", [{"event_id": "a", "sink": "mqtt"}])])
    [row] = database.owed()
    database.deliver(row["arrival_id"], row["times"])
    assert [row["origin"] for row in database.rows("owed", sink="mqtt", limit=-1)] == ["1.png"]


@pytest.mark.parametrize(("newer", "superseded"), [("a.png", [1, 0]), ("b.png", [0, 0])])
def test_an_arrival_is_superseded_by_a_newer_content_of_the_same_name(database, newer, superseded):
    database.write(arrives("a", "a.png", []))
    database.write(arrives("b", newer, []))
    assert [row["superseded"] for row in database.owed()] == superseded


# -- what a scan finds -------------------------------------------------------------------------------------------------

NOW = 1_790_000_000_123_456_789  # nanoseconds need all 64 bits


@pytest.mark.parametrize(
    ("found", "kept", "emptied"),
    [
        (["accepted.png", "1", NOW], False, True),
        (["accepted.png", "1", NOW + 1], False, True),
        (["accepted.png", "2", NOW], True, True),
        (["refused.png", "1", NOW], False, False),
        (["refused.png", "1", NOW + 1], True, True),
        (["refused.png", "2", NOW], True, True),
        (["elsewhere.png", "1", NOW], True, True),
        (["new.png", "1", NOW], True, True),
    ],
)
def test_what_is_new_in_a_folder_that_is_kept_and_in_one_that_is_emptied(database, found, kept, emptied):
    database.write(
        [
            Statement("insert_event", [event("a")]),
            Statement("insert_arrival", [arrival("a", "accepted.png", changed=NOW)]),
            Statement("insert_arrival", [arrival("a", "elsewhere.png", source="other", changed=NOW)]),
            Statement("refuse_arrival", [refusal("refused.png", changed=NOW)]),
        ]
    )
    for keep, expected in ((True, kept), (False, emptied)):
        rows = database.rows("unseen", source="inbox", found=json.dumps([found]), keep=keep)
        assert [row["origin"] for row in rows] == ([found[0]] if expected else [])


FILES = st.lists(
    st.tuples(st.sampled_from(["a", "b", 'q"uote', "line\nbreak", "ä €"]), st.sampled_from("12"), st.integers(0, 2)),
    unique_by=lambda file: file[0],
)


@settings(max_examples=100, deadline=None)
@given(accepted=FILES, refused=FILES, found=FILES, keep=st.booleans())
def test_what_is_new_is_the_difference_of_what_is_there_and_what_is_known(accepted, refused, found, keep):
    database = Database()
    database.write(
        [
            Statement("insert_event", [event("a")]),
            Statement("insert_arrival", [_seen(arrival("a", file[0]), file) for file in accepted]),
            Statement("refuse_arrival", [_seen(refusal(file[0]), file) for file in refused]),
        ]
    )
    rows = database.rows("unseen", source="inbox", found=json.dumps(found), keep=keep)
    database.close()
    known = {file[:2] for file in accepted} if keep else set()
    assert [row["origin"] for row in rows] == [
        file[0] for file in found if file[:2] not in known and file not in refused
    ]


def _seen(row: dict[str, Any], file: tuple[str, str, int]) -> dict[str, Any]:
    return {**row, "revision": file[1], "changed": file[2]}


def test_the_newest_refusal_of_a_file_is_the_one_that_counts(database):
    for changed, reason in ((1, "too large"), (2, "not readable")):
        database.write([Statement("refuse_arrival", [refusal("a.png", changed=changed, reason=reason)])])
    assert [row["reason"] for row in database.rows("refusals", limit=10)] == ["not readable"]
    assert database.rows("unseen", source="inbox", found='[["a.png", "1", 2]]', keep=True) == []
    database.write(arrives("a", "a.png", []))
    assert database.rows("refusals", limit=10) == []


# -- where contents lie ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (("aa/a.png", ""), ("/kept/a.png", "2"), ("aa/a.png", "")),
        (("/kept/a.png", "1"), ("/kept/b.png", "2"), ("/kept/b.png", "2")),
        (("/kept/a.png", "1"), ("aa/a.png", ""), ("aa/a.png", "")),
    ],
)
def test_a_content_in_the_library_stays_there_and_a_kept_one_follows_its_file(database, before, after, expected):
    for location, mark in (before, after):
        database.write([Statement("insert_event", [event("a", location=location, mark=mark)])])
    [row] = database.rows("event", id="a")
    assert (row["location"], row["mark"]) == expected
