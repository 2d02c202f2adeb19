"""Whatever happens to a file, `why` explains it: in sentences, with what to do."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from host.config import Inbox
from host.explain import Facts, explain
from tests.host.working_host import Place
from tests.until import until


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    return Place(tmp_path / "place", plugin_path)


@dataclass
class Folder:
    """A source that says of its files what a test wants."""

    inbox: Inbox
    state: str | None = None
    alarm: str = ""
    current: bool = True
    asked: list[str] = field(default_factory=list)

    def origin_of(self, path: str) -> str | None:
        folder = str(self.inbox.path)
        return path.removeprefix(f"{folder}/") if path.startswith(f"{folder}/") else None

    def state_of(self, path: str) -> str | None:
        return self.state

    def is_current(self, path: str, revision: str) -> bool:
        return self.current


@pytest.fixture
def folder(place: Place) -> Folder:
    place.inbox.mkdir(parents=True)
    return Folder(Inbox(path=place.inbox, quiet=2.5))


async def ask(app: Any, folder: Folder, name: str = "a.txt", *, running: int | None = 1) -> tuple[str, str]:
    facts = Facts(app.journal, app.library, [folder], app.dispatcher, app.leases, running)  # type: ignore[list-item]
    found = await explain(str(folder.inbox.path / name), None, facts)
    assert found.rule == f"inbox 'inbox' ({folder.inbox.path}): mode watch, after remove"
    (sentence,) = found.sentences
    return found.state, sentence


# -- before there is an event ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "answer", "words"),
    [
        ("ignored", "ignored", "leaves alone"),
        ("settling", "settling", "has not changed for 2.5 s"),
        ("taking", "taking", "being read"),
        (None, "unknown", "the next scan will find it"),
    ],
)
async def test_a_file_that_lies_in_an_inbox(place, folder, state, answer, words):
    (place.inbox / "a.txt").write_text("apple")
    folder.state = state
    async with place.open() as app:
        found, sentence = await ask(app, folder)
        assert found == answer
        assert words in sentence


async def test_a_file_in_a_paused_inbox_is_told_the_alarm(place, folder):
    (place.inbox / "a.txt").write_text("apple")
    folder.alarm = "The inbox is not mounted. Mount it."
    async with place.open() as app:
        assert await ask(app, folder) == ("paused", "The inbox is not mounted. Mount it.")


async def test_a_file_that_nobody_looks_for_because_no_host_runs(place, folder):
    (place.inbox / "a.txt").write_text("apple")
    async with place.open() as app:
        state, sentence = await ask(app, folder, running=None)
        assert state == "unknown"
        assert "Start one with `sensorium run`" in sentence


async def test_a_file_that_is_not_there_and_never_was(place, folder):
    async with place.open() as app:
        assert await ask(app, folder, "nothing.txt") == (
            "unknown",
            "There is no such file, and none of that name was ever taken in.",
        )


async def test_a_file_that_lies_in_no_inbox_is_told_where_they_are(place):
    async with place.open() as app:
        found = await app.why(place.file("a.txt", "apple"))
        assert found.state == "unknown"
        assert str(place.inbox) in found.sentences[0]


async def test_a_refused_file_is_told_the_reason_for_as_long_as_it_is_the_same(place):
    place.inbox.mkdir(parents=True)
    (place.inbox / "empty.txt").touch()
    async with place.open() as app:
        await app.run(once=True)
        found = await app.why(str(place.inbox / "empty.txt"))
    assert found.state == "refused"
    assert found.sentences[0].startswith("It was refused: It is empty.")


# -- with an event -----------------------------------------------------------------------------------------------------


async def test_a_queued_file_is_told_how_many_are_before_it_and_that_no_host_runs(place):
    async with place.open() as app:
        await app.submit([place.file(f"{name}.txt", name) for name in ("apple", "banana", "cherry")])
        found = await app.why(str(place.root / "elsewhere" / "cherry.txt"))
    assert found.state == "queued"
    assert [job.ahead for job in found.jobs] == [2]
    assert found.sentences[0].startswith("It arrived from submit as ")
    assert found.sentences[1:] == [
        "reader: waits behind 2 other job(s).",
        "No host runs. Start one with `sensorium run`.",
    ]


async def test_a_running_file_is_told_so_with_who_holds_the_device(place):
    go = place.root / "go"
    async with place.running() as app:
        path = place.file("slow.txt", f"wait {go}")
        await app.submit([path])
        await until(lambda: app.dispatcher.running("reader"))
        found = await app.why(path)
        go.touch()
    assert (found.state, found.holder) == ("running", "reader on cpu")
    assert "reader: at work now." in found.sentences


async def test_a_done_file_is_told_so_and_how_often_it_came(place):
    async with place.running() as app:
        paths = [place.file("a.txt", "apple"), place.file("b.txt", "apple")]
        await app.submit(paths, wait=True)
        found = await app.why(paths[0])
    assert found.state == "done"
    assert "came 2 times in all; the same content is worked on once" in found.sentences[0]
    assert found.sentences[1] == "reader: done."


async def test_a_failed_file_is_told_why_and_what_to_do(place):
    async with place.running() as app:
        path = place.file("a.txt", "torn")
        (answer,) = await app.submit([path], wait=True)
        found = await app.why(path)
    assert found.state == "failed"
    (job,) = found.jobs
    assert (job.state, job.attempts, job.error) == ("failed", 1, "It is torn.")
    assert job.advice.startswith("Mend it. ")
    assert f"`sensorium requeue {answer.event[:8]}`" in job.advice


async def test_a_file_that_is_tried_again_is_told_when_and_what_went_wrong(place):
    async with place.open() as app:
        path = place.file("a.txt", "apple")
        (answer,) = await app.submit([path])
        await app.journal._writer.execute(
            """UPDATE jobs SET attempts = 1, not_before = ?, error = '{"message": "It hung."}'""", (time.time() + 60.5,)
        )
        found = await app.why(answer.event)
    (job,) = found.jobs
    assert (job.attempts, job.next_try is not None) == (1, True)
    assert "tried again in 60 s; last time: It hung." in found.sentences[1]


async def test_a_file_in_a_paused_host_is_told_so(place):
    async with place.running() as app:
        await app.pause(True)
        path = place.file("a.txt", "apple")
        await app.submit([path])
        found = await app.why(path)
    assert found.state == "queued"
    assert "The host is paused (`sensorium pause`). `sensorium resume` goes on." in found.sentences


async def test_a_file_that_no_plugin_takes_is_told_so(place):
    place.settings = {"route": [{"plugin": "reader", "kinds": ["audio"]}]}
    async with place.open() as app:
        path = place.file("a.txt", "apple")
        await app.submit([path])
        found = await app.why(path)
    assert (found.state, found.jobs) == ("done", [])
    assert "No plugin in use takes this kind of file" in found.sentences[1]
