"""What a write promises: all or nothing, durable when it returns, and never at the cost of another's."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.errors import JournalError
from host.journal import ROWS_A_COMMIT, SQL, Journal, Statement, load_queries, open_journal
from tests.host.journal_rows import (
    arrival,
    arrives,
    event,
    fails,
    finishes,
    job,
    refusal,
    requeues,
    retries,
    taken_in,
)


async def events(journal: Journal) -> list[str]:
    return sorted(row["id"] for row in await journal.rows("latest_events", limit=-1))


def adding(*names: str) -> Statement:
    return Statement("insert_event", [event(name) for name in names])


# -- one write ---------------------------------------------------------------------------------------------------------


async def test_what_was_written_is_there_when_write_returns(journal):
    await journal.write(adding("a", "b"), Statement("insert_job", [job("a", "clip")]))
    assert await events(journal) == ["a", "b"]
    assert [row["plugin"] for row in await journal.rows("jobs_of_event", event_id="a")] == ["clip"]


async def test_of_a_write_that_fails_nothing_is_there(journal):
    with pytest.raises(JournalError, match=r"refused a write: FOREIGN KEY constraint failed\. Run `sensorium doctor`"):
        await journal.write(adding("a"), Statement("insert_job", [job("a", "clip"), job("missing", "clip")]))
    assert await events(journal) == []


async def test_a_write_of_nothing_returns_without_a_commit(journal):
    await journal.write()
    await journal.write(Statement("insert_event", []))
    assert journal.commits == 0


async def test_the_statements_of_a_write_run_in_order(journal):
    await journal.write(adding("a"), Statement("insert_job", [job("a", "clip")]))
    [found] = await journal.rows("jobs_of_event", event_id="a")
    await journal.write(*finishes(found["seq"], "a", "clip", "old"))
    await journal.write(*finishes(found["seq"], "a", "clip", "new"))
    assert [row["data"] for row in await journal.rows("results_of_events", ids='["a"]')] == ["new"]


async def test_what_is_deleted_takes_all_that_hangs_on_it(journal):
    await journal.write(*arrives("a", "a.png", ["clip"]))
    [found] = await journal.rows("jobs_of_event", event_id="a")
    await journal.write(*finishes(found["seq"], "a", "clip", "text", results=2))
    assert len(await journal.rows("vectors", space="space", after=0, limit=10)) == 2
    await journal.write(Statement("clear_results", [{"event_id": "a", "plugin": "clip"}]))
    assert await journal.rows("vectors", space="space", after=0, limit=10) == []


# -- many writes -------------------------------------------------------------------------------------------------------


async def test_writes_that_wait_at_the_same_moment_share_a_commit(journal):
    await asyncio.gather(*(journal.write(adding(f"{number}")) for number in range(500)))
    assert len(await events(journal)) == 500
    assert journal.commits == 1


async def test_a_commit_does_not_grow_without_bound(journal):
    part = ROWS_A_COMMIT // 2
    names = [[f"{unit}-{number}" for number in range(part)] for unit in range(5)]
    await asyncio.gather(*(journal.write(adding(*unit)) for unit in names))
    assert (await journal.row("counts"))["events"] == 5 * part
    assert journal.commits == 3


BAD_ROWS = {
    "nothing that it refers to": Statement("insert_job", [job("missing", "clip")]),
    "a column left empty": Statement("insert_event", [event("bad", kind=None)]),
    "text where a number belongs": Statement("insert_event", [event("bad", size="large")]),
    "a parameter that is missing": Statement("insert_event", [{}]),
    "a value that is no value": Statement("insert_event", [event("bad", kind=object())]),
    "half a character": Statement("insert_event", [event("bad", kind="\ud800")]),
    "a number beyond 64 bits": Statement("insert_event", [event("bad", size=2**64)]),
}


@pytest.mark.parametrize("bad", BAD_ROWS.values(), ids=BAD_ROWS)
async def test_a_bad_write_fails_alone(journal, bad):
    writes = [journal.write(adding("a")), journal.write(adding("b"), bad), journal.write(adding("c"))]
    answers = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), JournalError, type(None)]
    assert await events(journal) == ["a", "c"]
    await journal.write(adding("d"))
    assert await events(journal) == ["a", "c", "d"]


async def test_whoever_gives_up_waiting_does_not_fail_the_others(journal):
    writes = [asyncio.create_task(journal.write(adding(name))) for name in "abc"]
    await asyncio.sleep(0)
    writes[1].cancel()
    await asyncio.gather(*writes, return_exceptions=True)
    assert {"a", "c"} <= set(await events(journal))
    assert [write.cancelled() for write in writes] == [False, True, False]


async def test_nobody_waits_for_ever_when_the_writer_ends(tmp_path):
    async with open_journal(tmp_path / "journal.db") as journal:
        writer = asyncio.create_task(journal.run_writer())
        first = asyncio.create_task(journal.write(adding("a")))
        for _ in range(5):
            await asyncio.sleep(0)
        second = asyncio.create_task(journal.write(adding("b")))
        await asyncio.sleep(0)
        writer.cancel()
        async with asyncio.timeout(2):
            answers = await asyncio.gather(first, second, writer, return_exceptions=True)
    assert [type(answer) for answer in answers] == [JournalError, JournalError, asyncio.CancelledError]


# -- the same as one by one --------------------------------------------------------------------------------------------

NAMES, PLUGINS = ("a", "b", "c"), ("clip", "ocr")
JOBS = {(name, plugin): number for number, (name, plugin) in enumerate(((n, p) for n in NAMES for p in PLUGINS), 1)}
UNITS = st.one_of(
    st.builds(
        lambda name, number: arrives(name, f"{name}-{number}.png", list(PLUGINS)),
        st.sampled_from([*NAMES, "d", "e"]),
        st.integers(1, 4),
    ),
    st.builds(
        lambda key, text, results: finishes(JOBS[key], *key, text, results),
        st.sampled_from(list(JOBS)),
        st.sampled_from(["one", "two"]),
        st.integers(0, 2),
    ),
    st.builds(lambda key, attempts: retries(JOBS[key], attempts), st.sampled_from(list(JOBS)), st.integers(1, 3)),
    st.builds(lambda key, attempts: fails(JOBS[key], key[0], attempts), st.sampled_from(list(JOBS)), st.integers(1, 3)),
    st.builds(lambda key: requeues(JOBS[key]), st.sampled_from(list(JOBS))),
    st.just([Statement("insert_job", [job("missing", "clip")])]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(UNITS, max_size=12))
def test_writes_together_end_in_what_writes_one_by_one_end_in(units):
    together, verdicts = asyncio.run(_state_after(units, together=True))
    one_by_one, expected = asyncio.run(_state_after(units, together=False))
    assert verdicts == expected
    assert together == one_by_one


async def test_a_refusal_that_was_overtaken_in_the_same_commit_is_forgotten(journal):
    refused, accepted = refusal("a.png"), arrival("a", "a.png", revision="2")
    await asyncio.gather(
        journal.write(*taken_in([], [], [refused])), journal.write(*taken_in([event("a")], [accepted], []))
    )
    assert await journal.rows("refusals", limit=10) == []


async def _state_after(units: list[list[Statement]], *, together: bool) -> tuple[dict[str, Any], list[bool]]:
    """All rows, and which writes were refused. How often something was owed may differ: it is owed all the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        async with open_journal(path) as journal:
            writer = asyncio.create_task(journal.run_writer())
            for name in NAMES:
                await journal.write(*arrives(name, f"{name}.png", list(PLUGINS)))
            writes = [journal.write(*unit) for unit in units]
            if together:
                answers = await asyncio.gather(*writes, return_exceptions=True)
            else:
                answers = [(await asyncio.gather(write, return_exceptions=True))[0] for write in writes]
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        with contextlib.closing(sqlite3.connect(path)) as connection:
            tables = ("events", "arrivals", "jobs", "results", "embeddings")
            state = {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in tables}
            state["owed"] = sorted(connection.execute("SELECT arrival_id, sink FROM deliveries"))
        for name in ("results", "embeddings"):  # in which order unrelated rows were numbered says nothing
            state[name] = sorted(row[1:] for row in state[name])
    return state, [isinstance(answer, JournalError) for answer in answers]


# -- durable -----------------------------------------------------------------------------------------------------------

WRITING = """
import asyncio, sys
from pathlib import Path
from host.journal import Statement, open_journal
from tests.host.journal_rows import event, job

async def write(journal, run, lane):
    for number in range(1_000_000):
        names = [f"{run}-{lane}-{number}-{part}" for part in range(3)]
        await journal.write(
            Statement("insert_event", [event(name) for name in names]),
            Statement("insert_job", [job(name, "clip") for name in names]),
        )
        print(names[0][:-2], flush=True)

async def main():
    async with open_journal(Path(sys.argv[1])) as journal, asyncio.TaskGroup() as tasks:
        tasks.create_task(journal.run_writer())
        for lane in range(8):
            tasks.create_task(write(journal, sys.argv[2], lane))

asyncio.run(main())
"""


async def test_a_write_that_returned_survives_a_kill_at_any_moment(tmp_path):
    path = tmp_path / "journal.db"
    acknowledged: list[str] = []
    rng = random.Random(8)
    for run in range(4):
        acknowledged += _written_until_killed(path, run, after=rng.randrange(1, 300))
        async with open_journal(path) as journal:
            found = await events(journal)
            jobs = await journal.rows("queued_jobs", plugin="clip", priority=1, after=0, limit=-1)
        units = {name[:-2] for name in found}
        assert set(acknowledged) <= units, "acknowledged and lost"
        assert sorted(f"{unit}-{part}" for unit in units for part in range(3)) == found, "a part of a write"
        assert sorted(row["event_id"] for row in jobs) == found, "a part of a write"


def _written_until_killed(path: Path, run: int, after: int) -> list[str]:
    """What a host says it has written before it is killed, at some moment after so many writes."""
    child = [sys.executable, "-c", WRITING, str(path), str(run)]
    with subprocess.Popen(child, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(after)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout
    return [line.strip() for line in lines if line.endswith("\n")]


async def test_the_writer_waits_for_the_disk_and_the_reader_never_writes(journal):
    async def pragma(connection: Any, name: str) -> Any:
        return next(iter(await connection.execute_fetchall(f"PRAGMA {name}")))[0]

    assert await pragma(journal._writer, "journal_mode") == "wal"
    assert await pragma(journal._writer, "synchronous") == 2
    assert await pragma(journal._writer, "foreign_keys") == 1
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await journal._reader.execute("DELETE FROM events")


# -- opening -----------------------------------------------------------------------------------------------------------


def version_of(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


async def test_a_new_journal_is_made_with_its_folder_and_kept(tmp_path):
    path = tmp_path / "not" / "there" / "journal.db"
    for names in (["a"], ["a", "b"]):
        async with open_journal(path) as journal:
            writer = asyncio.create_task(journal.run_writer())
            await journal.write(adding(names[-1]))
            assert await events(journal) == names
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
    assert version_of(path) >= 1


@pytest.mark.parametrize("read_only", [False, True])
async def test_the_journal_of_a_newer_version_is_refused_and_left_alone(tmp_path, read_only):
    path = tmp_path / "journal.db"
    async with open_journal(path):
        pass
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"has version 99; this Sensorium (knows|reads) \d+\."):
        async with open_journal(path, read_only=read_only):
            pass
    assert path.read_bytes() == before


async def test_a_journal_that_was_never_finished_is_made_anew(tmp_path):
    path = tmp_path / "journal.db"
    sqlite3.connect(path).close()
    path.touch()
    async with open_journal(path) as journal:
        assert await events(journal) == []


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_file_that_is_no_journal_is_refused_with_advice(tmp_path, read_only):
    path = tmp_path / "journal.db"
    path.write_text("something else " * 1000)
    with pytest.raises(JournalError, match=r"cannot be used: file is not a database\. Run `sensorium doctor`"):
        async with open_journal(path, read_only=read_only):
            pass
    assert path.read_text() == "something else " * 1000


async def test_reading_only_makes_no_file(tmp_path):
    path = tmp_path / "journal.db"
    async with open_journal(path, read_only=True) as journal:
        assert await events(journal) == []
    assert list(tmp_path.iterdir()) == []


async def test_a_reader_beside_the_host_sees_what_was_committed(journal):
    async with open_journal(journal.path, read_only=True) as reader:
        await journal.write(adding("a"))
        assert await events(reader) == ["a"]


async def test_an_error_of_the_callers_own_stays_what_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="mine"):
        async with open_journal(tmp_path / "journal.db"):
            raise FileNotFoundError("mine")


def test_queries_are_found_by_the_name_above_them():
    assert load_queries("-- a file\n\n-- name: one\n-- why\nSELECT 1;\n\n-- name: two\nSELECT 2;\n") == {
        "one": "-- why\nSELECT 1;",
        "two": "SELECT 2;",
    }


@pytest.mark.parametrize("name", SQL)
async def test_every_query_fits_the_tables(journal, name):
    await journal._reader.execute_fetchall(f"EXPLAIN {SQL[name]}", _Anything())


class _Anything(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        return "[]" if name in ("found", "ids", "seqs") else None
