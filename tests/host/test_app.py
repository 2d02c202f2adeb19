"""The whole put together: how it starts, takes files in, fails and ends."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import psutil
import pytest

from host.app import one_error
from host.errors import AlreadyRunning, HostError, JournalError, UsageError, WorkFailed
from host.journal import Journal
from tests.host.working_host import Place
from tests.until import until


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    return Place(tmp_path / "place", plugin_path)


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "hooks.worker" in child.cmdline()]


# -- opening ---------------------------------------------------------------------------------------------------------


async def test_reading_before_the_first_run_answers_and_makes_nothing(place):
    async with place.open(read_only=True) as app:
        status = await app.status()
        assert (status.running, status.events, status.queued) == (None, 0, 0)
        assert await app.results() == []
        assert (await app.why("nothing.png")).state == "unknown"
    assert not place.root.exists()


async def test_reading_beside_a_running_host_closes_none_of_its_leases(place):
    async with place.running() as host:
        await host.submit([place.file("a.txt", "apple")], wait=True)
        async with place.open(read_only=True) as reader:
            assert (await reader.status()).events == 1
            assert [hit.origin for hit in await reader.search("a")] == [str(place.root / "elsewhere" / "a.txt")]
        rows = await host.journal._reader.execute_fetchall("SELECT released FROM leases")
        assert [row[0] for row in rows] == [None]


async def test_who_only_reads_changes_nothing(place):
    async with place.open() as app:
        await app.submit([place.file("a.txt", "apple")])
    async with place.open(read_only=True) as reader:
        with pytest.raises(UsageError, match="read only"):
            await reader.submit([place.file("b.txt", "banana")])
        with pytest.raises(UsageError, match="read only"):
            await reader.requeue([])
        assert (await reader.status()).queued == 1


async def test_a_journal_of_another_version_is_not_touched_by_who_only_reads(place):
    async with place.open() as app:
        await app.journal._writer.execute("PRAGMA user_version = 99")
    with pytest.raises(JournalError, match="has version 99"):
        async with place.open(read_only=True):
            pass


async def test_one_host_for_each_data_directory(place):
    async with place.open():
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()}"):
            async with place.open():
                pass


async def test_the_inboxes_are_made_at_the_first_start_and_never_again(place):
    async with place.open():
        assert place.inbox.is_dir()
    place.inbox.rmdir()
    async with place.open():
        assert not place.inbox.exists()


# -- submitting ------------------------------------------------------------------------------------------------------


async def test_a_submitted_file_is_taken_in_and_waits_for_a_host(place):
    async with place.open() as app:
        (answer,) = await app.submit([place.file("a.txt", "apple")])
        assert (answer.state, answer.reason) == ("accepted", "")
        assert (await app.status()).queued == 1
    assert workers() == []


async def test_submit_and_wait_works_without_a_host_and_leaves_no_worker(place):
    async with place.open() as app:
        (answer,) = await app.submit([place.file("a.txt", "apple")], wait=True)
        assert answer.state == "done"
        assert workers() == []
    (sidecar,) = (place.outbox / "submit").glob("*.json")
    assert json.loads(sidecar.read_text())["results"][0]["data"] == {"text": "5"}


async def test_submit_and_wait_works_twice_in_one_process(place):
    async with place.open() as app:
        for name in ("apple", "banana"):
            (answer,) = await app.submit([place.file(f"{name}.txt", name)], wait=True)
            assert answer.state == "done"


async def test_submit_and_wait_on_a_running_host_returns_when_the_jobs_are_finished(place):
    async with place.running() as app:
        good, torn = await app.submit([place.file("a.txt", "apple"), place.file("b.txt", "torn")], wait=True)
    assert (good.state, torn.state, torn.reason) == ("done", "failed", "It is torn.")


async def test_the_same_file_twice_is_one_event_and_runs_once(place):
    path = place.file("a.txt", "apple")
    async with place.open() as app:
        first, second = await app.submit([path, path], wait=True)
        (third,) = await app.submit([place.file("copy.txt", "apple")], wait=True)
        assert first.event == second.event == third.event
        assert {one.state for one in (first, second, third)} == {"done"}
        status = await app.status()
        assert (status.events, [queue.done for queue in status.queues]) == (1, [1])


@pytest.mark.parametrize("what", ["folder", "fifo", "missing", "dangling", "empty", "nul"])
async def test_what_is_no_readable_file_is_refused_with_a_reason_and_the_others_are_taken(place, what):
    path = Path(place.file("elsewhere.txt", "apple")).with_name("odd")
    if what == "folder":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "dangling":
        path.symlink_to("nowhere")
    elif what == "empty":
        path.touch()
    named = f"{path}\0" if what == "nul" else str(path)
    async with place.open() as app:
        async with asyncio.timeout(10):
            odd, good = await app.submit([named, place.file("a.txt", "apple")])
    assert (odd.state, odd.event, good.state) == ("refused", None, "accepted")
    assert odd.reason


async def test_a_link_is_followed_because_somebody_named_it(place):
    link = Path(place.file("a.txt", "apple")).with_name("link.txt")
    link.symlink_to("a.txt")
    async with place.open() as app:
        (answer,) = await app.submit([str(link)])
    assert answer.state == "accepted"


# -- what breaks, and the end ----------------------------------------------------------------------------------------


def test_of_a_group_of_errors_the_one_for_people_comes_out():
    first, second = ValueError("a consequence"), HostError("The disk is gone.")
    with pytest.raises(HostError, match="disk is gone"), one_error():
        raise ExceptionGroup("tasks", [first, ExceptionGroup("more", [second])])


def test_an_error_that_is_meant_for_nobody_comes_out_as_itself():
    with pytest.raises(ZeroDivisionError), one_error():
        raise ExceptionGroup("tasks", [ZeroDivisionError()])


async def test_a_run_counts_its_own_refusals_whatever_became_of_earlier_ones(place):
    place.inbox.mkdir(parents=True)
    for removed, name in ((None, "a.txt"), ("a.txt", "b.txt")):
        (place.inbox / name).touch()
        if removed:
            (place.inbox / removed).unlink()
        async with place.open() as app:
            assert (await app.run(once=True)).refused == 1
            assert [one.origin for one in (await app.status()).refusals] == [name]
    assert [path.name for path in (place.outbox / "failed").iterdir()] == ["b.txt.error.json"]


async def test_an_error_in_a_question_comes_out_as_it_is(place):
    async with place.open() as app:
        await app.submit([place.file("a.txt", "apple")], wait=True)
        with pytest.raises(WorkFailed):
            await app.search("")  # no first letter: the plugin breaks
        assert workers() == []


async def test_a_commit_that_breaks_ends_the_host_with_its_one_reason(place, monkeypatch):
    write = Journal.write

    async def broken(self, *statements) -> None:
        if any(one.name == "finish_job" for one in statements):
            raise JournalError("CHECK constraint failed")
        await write(self, *statements)

    monkeypatch.setattr(Journal, "write", broken)
    async with place.open() as app:
        running = asyncio.create_task(app.run())
        await app.submit([place.file("a.txt", "apple")])
        with pytest.raises(JournalError, match="CHECK"):
            await asyncio.wait_for(running, 30)
        assert workers() == []
        assert app.running_pid is None


async def test_a_journal_whose_writer_is_gone_ends_the_host(place):
    async with place.open() as app:
        running = asyncio.create_task(app.run())
        await until(lambda: app.running_pid)
        app._writer.cancel()
        with pytest.raises(JournalError, match="writer ended"):
            await asyncio.wait_for(running, 30)


async def test_stop_finishes_and_delivers_what_runs_and_leaves_the_rest_for_the_next_start(place):
    go = place.root / "go"
    async with place.open() as app:
        running = asyncio.create_task(app.run())
        (slow,) = await app.submit([place.file("slow.txt", f"wait {go}")])
        await until(lambda: app.dispatcher.running("reader"))
        (late,) = await app.submit([place.file("late.txt", "later")])
        app.stop()
        go.touch()
        await running
        assert workers() == []
        assert (await app.view(slow.event)).pending == []
        assert (await app.view(late.event)).pending == ["reader"]
    assert len(list((place.outbox / "submit").glob("slow-*.json"))) == 1
    async with place.open() as app:
        assert (await app.run(once=True)).done == 1


async def test_kill_ends_at_once_and_the_work_is_done_again_at_the_next_start(place):
    go = place.root / "go"
    async with place.open() as app:
        running = asyncio.create_task(app.run())
        (slow,) = await app.submit([place.file("slow.txt", f"wait {go}")])
        await until(lambda: app.dispatcher.running("reader"))
        app.kill()
        async with asyncio.timeout(20):
            await running
        assert workers() == []
        (job,) = await app.journal.rows("jobs_of_event", event_id=slow.event)
        assert (job["state"], job["attempts"]) == ("queued", 0)
    go.touch()
    async with place.open() as app:
        assert (await app.run(once=True)).done == 1


async def test_after_its_keep_alive_no_worker_is_left_and_its_lease_is_released(place):
    async with place.running() as app:
        await app.submit([place.file("a.txt", "apple")], wait=True)
        (worker,) = workers()
        slot = app.leases.slots["reader"]
        app.leases._clock = lambda: slot.idle_since + 60.0
        app.leases.pause(False)
        await until(lambda: slot.state == "unloaded")
        assert not worker.is_running()
        await until(lambda: app.leases.turn_on("cpu") is None)


async def test_a_worker_that_somebody_kills_while_it_is_idle_is_replaced_without_a_trace(place):
    async with place.running() as app:
        await app.submit([place.file("a.txt", "apple")], wait=True)
        (worker,) = workers()
        worker.kill()
        await until(lambda: app.leases.slots["reader"].state == "unloaded")
        (answer,) = await app.submit([place.file("b.txt", "banana")], wait=True)
        assert answer.state == "done"
        (job,) = await app.journal.rows("jobs_of_event", event_id=answer.event)
        assert job["attempts"] == 0
