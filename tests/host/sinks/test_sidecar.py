"""Files beside the work: one sidecar for every arrival, and `failed/` true at all times."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hooks import Segment, Transcript
from host.intake import event_id_of
from host.journal import Journal, Statement
from host.library import Library
from host.names import to_text
from host.reports import event_view
from host.sinks import sidecar
from host.sinks.sidecar import SidecarSink

ERROR = {"code": "bad_input", "message": "The picture is cut off.", "hint": "Send it again.", "detail": "Traceback"}


class Office:
    """A journal and a library in which things arrive and are worked off, and the sink that is tested."""

    def __init__(self, root: Path, journal: Journal, library: Library) -> None:
        self.journal, self.library = journal, library
        self.outbox, self.failed = root / "outbox", root / "outbox" / "failed"
        self.steps: list[str] = []
        self.sink = self.new_sink()
        self.revision = 0

    def new_sink(self, folders: dict[str, str] | None = None, texts: tuple[str, ...] = ()) -> SidecarSink:
        return SidecarSink(
            self.journal, self.library, self.outbox, self.failed, folders or {"inbox": ""}, self.steps.append, texts
        )

    async def arrive(self, origin: str, content: str, *, source: str = "inbox", location: str = "") -> str:
        """A committed arrival with one open job, unless the content was worked off before."""
        stored = self.library.add_bytes(content.encode(), ".txt")
        event_id = event_id_of("text", stored.sha256)
        self.revision += 1
        mark = {"source": source, "origin": origin, "revision": str(self.revision), "changed": 0, "event_id": event_id}
        event = {
            "id": event_id, "kind": "text", "media_type": "text/plain", "sha256": stored.sha256, "size": stored.size,
            "location": location or self.library.location_of(stored.path), "mark": "",
            "tags": '["a"]', "metadata": "{}",
            "name": origin.rsplit("/", 1)[-1], "source": source, "origin": origin, "parent": None, "created": 1.5,
        }  # fmt: skip
        await self.journal.write(
            Statement("insert_event", [event]),
            Statement("insert_arrival", [{**mark, "seen": time.time()}]),
            Statement("insert_job", [{"event_id": event_id, "plugin": "words", "queued": 1.0}]),
            Statement("owe_arrival", [{**mark, "sink": "sidecar"}]),
        )
        self.sink.wake()
        return event_id

    async def finish(
        self,
        event_id: str,
        *,
        error: dict[str, str] | None = None,
        text: str = "fine",
        kind: str = "caption",
        data: Any = None,
    ) -> None:
        """The event's job done, or failed; its arrivals are owed."""
        [job] = await self.journal.rows("jobs_of_event", event_id=event_id)
        result = {
            "event_id": event_id, "plugin": "words", "ordinal": 0, "type": kind, "version": 1,
            "data": json.dumps(data or {"text": text}), "artifact": None, "provenance": '{"plugin_version": "1.0"}',
            "created": 2.0,
        }  # fmt: skip
        owed = Statement("owe_event", [{"event_id": event_id, "sink": "sidecar"}])
        if error:
            failed = {"seq": job["seq"], "attempts": 1, "error": json.dumps(error), "finished": 3.0}
            await self.journal.write(Statement("fail_job", [failed]), owed)
        else:
            await self.journal.write(
                Statement("clear_results", [{"event_id": event_id, "plugin": "words"}]),
                Statement("insert_result", [result]),
                Statement("finish_job", [{"seq": job["seq"], "finished": 3.0}]),
                owed,
            )
        self.sink.wake()

    async def requeue(self, event_id: str) -> None:
        [job] = await self.journal.rows("jobs_of_event", event_id=event_id)
        await self.journal.write(Statement("requeue_job", [{"seq": job["seq"], "queued": 4.0}]))

    @asynccontextmanager
    async def delivering(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.sink.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def deliver(self) -> None:
        """Have everything delivered that is owed."""
        async with self.delivering(), asyncio.timeout(30):
            await self.sink.idle.wait()

    async def owed(self) -> int:
        return len(await self.journal.rows("owed", sink="sidecar", limit=1000))

    def files(self) -> list[str]:
        """All files in the outbox."""
        return sorted(str(path.relative_to(self.outbox)) for path in self.outbox.rglob("*") if path.is_file())


@pytest.fixture
def office(tmp_path: Path, journal: Journal, library: Library) -> Office:
    return Office(tmp_path, journal, library)


def read(path: Path) -> dict[str, Any]:
    body = json.loads(path.read_bytes())
    assert isinstance(body, dict)
    return body


async def test_a_sidecar_has_the_documented_shape(office):
    event_id = await office.arrive("pets/cat.txt", "a cat")
    await office.finish(event_id)
    await office.deliver()
    body = read(office.outbox / "pets" / "cat.txt.json")
    digest = body["event"]["sha256"]
    assert body == {
        "event": {
            "id": event_id,
            "kind": "text",
            "media_type": "text/plain",
            "sha256": digest,
            "size": 5,
            "name": "cat.txt",
            "source": "inbox",
            "origin": "pets/cat.txt",
            "tags": ["a"],
            "metadata": {},
            "parent": None,
            "created": body["event"]["created"],
            "path": str(office.library.path_of(digest, ".txt")),
        },
        "results": [
            {
                "plugin": "words",
                "type": "caption",
                "version": 1,
                "data": {"text": "fine"},
                "artifact": None,
                "provenance": {"plugin_version": "1.0"},
            }
        ],
        "failures": [],
    }
    assert office.files() == ["pets/cat.txt.json"]
    assert await office.owed() == 0
    assert office.steps == ["before sidecar", "sidecar written"]


async def test_nothing_is_written_while_a_job_is_open(office):
    await office.arrive("a.txt", "a")
    await office.deliver()
    assert office.files() == []


async def test_every_arrival_of_a_content_gets_a_sidecar_under_its_own_name(office):
    event_id = await office.arrive("a.txt", "the same")
    await office.arrive("sub/b.txt", "the same")
    await office.finish(event_id)
    await office.deliver()
    await office.arrive("late.txt", "the same")
    await office.deliver()
    assert office.files() == ["a.txt.json", "late.txt.json", "sub/b.txt.json"]
    facts = [read(office.outbox / name)["event"] for name in office.files()]
    assert [one["origin"] for one in facts] == ["a.txt", "late.txt", "sub/b.txt"]
    assert {one["id"] for one in facts} == {event_id}


async def test_a_newer_content_of_the_same_name_is_not_overwritten_by_the_older(office):
    older = await office.arrive("camera.txt", "older")
    newer = await office.arrive("camera.txt", "newer")
    await office.finish(newer)
    await office.deliver()
    await office.finish(older)
    await office.deliver()
    assert read(office.outbox / "camera.txt.json")["event"]["id"] == newer
    assert await office.owed() == 0


async def test_new_results_replace_the_sidecar(office):
    event_id = await office.arrive("a.txt", "a")
    await office.finish(event_id, text="old")
    await office.deliver()
    await office.requeue(event_id)
    await office.finish(event_id, text="new")
    await office.deliver()
    assert read(office.outbox / "a.txt.json")["results"][0]["data"] == {"text": "new"}


TRANSCRIPT, _ = Transcript.of(
    [Segment(start=0.5, end=1.5, text="hello")], language="en", language_probability=1.0, duration=2.0
).split()


async def test_subtitles_and_text_are_written_beside_the_sidecar_where_they_are_asked_for(office):
    office.sink = office.new_sink(texts=("srt", "txt"))
    event_id = await office.arrive("talks/one.mp3", "talk")
    await office.finish(event_id, kind="transcript", data=TRANSCRIPT)
    await office.deliver()
    assert office.files() == ["talks/one.mp3.json", "talks/one.mp3.srt", "talks/one.mp3.txt"]
    assert (office.outbox / "talks" / "one.mp3.srt").read_text() == "1\n00:00:00,500 --> 00:00:01,500\nhello\n"
    assert (office.outbox / "talks" / "one.mp3.txt").read_text() == "hello\n"


async def test_a_result_that_is_not_as_its_type_says_has_a_sidecar_and_no_text_files(office):
    office.sink = office.new_sink(texts=("srt",))
    event_id = await office.arrive("a.mp3", "a")
    await office.finish(event_id, kind="transcript", data={"words": "by somebody else"})
    await office.deliver()
    assert office.files() == ["a.mp3.json"]


async def test_results_that_come_while_a_sidecar_is_written_are_written_too(office, monkeypatch):
    event_id = await office.arrive("a.txt", "a")
    await office.finish(event_id, text="old")
    write, loop = office.sink._write, asyncio.get_running_loop()

    def overtaken(*arguments: Any) -> None:
        write(*arguments)
        monkeypatch.setattr(office.sink, "_write", write)
        asyncio.run_coroutine_threadsafe(newer(), loop).result(30)

    async def newer() -> None:
        await office.requeue(event_id)
        await office.finish(event_id, text="new")

    monkeypatch.setattr(office.sink, "_write", overtaken)
    await office.deliver()
    assert read(office.outbox / "a.txt.json")["results"][0]["data"] == {"text": "new"}
    assert await office.owed() == 0


async def test_a_crash_before_the_delivery_is_recorded_writes_the_same_file_again(office, monkeypatch):
    event_id = await office.arrive("a.txt", "a")
    await office.finish(event_id)
    [row] = await office.journal.rows("owed", sink="sidecar", limit=10)
    office.outbox.mkdir()
    views = {event_id: await event_view(event_id, office.journal, office.library)}
    await asyncio.to_thread(office.sink._write, [row], views)
    first = (office.outbox / "a.txt.json").read_bytes()
    office.sink = office.new_sink()  # killed here; the next host
    await office.deliver()
    assert (office.outbox / "a.txt.json").read_bytes() == first
    assert office.files() == ["a.txt.json"]


async def test_failed_work_lies_in_failed_with_a_reason_until_it_succeeds(office):
    event_id = await office.arrive("sub/a.txt", "cut off")
    await office.finish(event_id, error=ERROR)
    await office.deliver()
    assert office.files() == ["failed/sub/a.txt", "failed/sub/a.txt.error.json", "sub/a.txt.json"]
    report = read(office.failed / "sub" / "a.txt.error.json")
    assert report["file"] == "sub/a.txt"
    assert report["failures"][0]["message"] == "The picture is cut off."
    assert report["failures"][0]["hint"] == "Send it again."
    assert f"sensorium requeue {event_id}" in report["what_to_do"]
    assert (office.failed / "sub" / "a.txt").read_text() == "cut off"
    assert read(office.outbox / "sub" / "a.txt.json")["failures"][0]["code"] == "bad_input"
    await office.requeue(event_id)
    await office.finish(event_id)
    await office.deliver()
    assert office.files() == ["sub/a.txt.json"]
    assert read(office.outbox / "sub" / "a.txt.json")["failures"] == []


async def test_of_a_kept_file_that_failed_only_the_reason_is_set_aside(office, tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("content")
    event_id = await office.arrive("kept.txt", "content", location=str(kept))
    await office.finish(event_id, error=ERROR)
    await office.deliver()
    assert office.files() == ["failed/kept.txt.error.json", "kept.txt.json"]


async def test_a_content_that_left_the_library_does_not_hold_up_the_others(office):
    event_id = await office.arrive("a.txt", "gone")
    office.library.path_of(read_sha(await office.journal.row("event", id=event_id)), ".txt").unlink()
    await office.finish(event_id, error=ERROR)
    other = await office.arrive("b.txt", "fine")
    await office.finish(other)
    await office.deliver()
    assert office.files() == ["a.txt.json", "b.txt.json", "failed/a.txt.error.json"]


def read_sha(row: Any) -> str:
    return str(row["sha256"])


async def test_a_refusal_is_told_in_failed_and_goes_when_the_file_is_taken_in(office):
    office.sink.refused("inbox", [("sub/a.txt", "It is empty.")])
    assert read(office.failed / "sub" / "a.txt.error.json") == {
        "file": "sub/a.txt",
        "source": "inbox",
        "refused": "It is empty.",
    }
    await office.finish(await office.arrive("sub/a.txt", "no longer"))
    await office.deliver()
    assert office.files() == ["sub/a.txt.json"]


async def test_a_refusal_that_is_withdrawn_leaves_no_report_and_a_report_of_failed_jobs_stays(office):
    office.sink.refused("inbox", [("sub/a.txt", "It is empty.")])
    await office.finish(await office.arrive("b.txt", "content"), error=ERROR)
    await office.deliver()
    before = office.files()
    office.sink.withdrawn("inbox", ["sub/a.txt", "b.txt", "nothing.txt"])
    assert office.files() == [name for name in before if not name.startswith("failed/sub")]


@pytest.mark.parametrize(
    "name",
    [
        b"line\nbreak.txt", b"quote\"'.txt", b"-rf", b"\xff\xfe.txt", "Grüße 😀.txt".encode(), b"x" * 255,
        b"\xff" * 255, "😀".encode() * 63 + b"abc", b"back\\slash", b"looks\\xff.txt", b" ",
    ],
)  # fmt: skip
async def test_any_name_that_a_file_may_have_gets_its_sidecar_and_its_report(office, name):
    origin = to_text(os.fsdecode(b"sub/" + name))
    await office.finish(await office.arrive(origin, "content"), error=ERROR)
    await office.deliver()
    [written] = (office.outbox / "sub").iterdir()
    assert written.suffix == ".json"
    assert read(written)["event"]["origin"] == origin
    if len(name) <= 250:
        assert os.fsencode(written.name) == name + b".json"
    reports = sorted((office.failed / "sub").iterdir(), key=lambda path: path.name.endswith(".error.json"))
    assert os.fsencode(reports[0].name) == name
    assert read(reports[1])["file"] == origin
    assert await office.owed() == 0


async def test_long_names_with_the_same_beginning_are_told_apart(office):
    names = [f"{'x' * 254}{ending}" for ending in "abc"]
    for name in names:
        await office.finish(await office.arrive(name, name))
    await office.deliver()
    assert sorted(read(path)["event"]["origin"] for path in office.outbox.iterdir()) == names


async def test_a_folder_with_a_sidecars_name_holds_up_nobody(office):
    for name in ("a.json/inner.txt", "a", "b", "b.json/inner.txt", "c.txt"):
        await office.finish(await office.arrive(name, name), error=ERROR)
        await office.deliver()
    sidecars = [path for path in office.outbox.rglob("*.json") if path.is_file() and office.failed not in path.parents]
    assert sorted(read(path)["event"]["origin"] for path in sidecars) == [
        "a", "a.json/inner.txt", "b", "b.json/inner.txt", "c.txt",
    ]  # fmt: skip
    assert await office.owed() == 0


async def test_a_disk_that_is_full_delays_sidecars_and_loses_none(office, monkeypatch):
    third_try, loop = asyncio.Event(), asyncio.get_running_loop()

    def full(*arguments: Any) -> None:
        if office.steps.count("before sidecar") == 3:
            loop.call_soon_threadsafe(third_try.set)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(sidecar, "RETRY", 0.01)
    await office.finish(await office.arrive("a.txt", "a"))
    with monkeypatch.context() as patch:
        patch.setattr(sidecar, "write_atomically", full)
        async with office.delivering():
            await third_try.wait()
            assert await office.owed() == 1
            assert not office.sink.idle.is_set()
            patch.undo()
            async with asyncio.timeout(30):
                await office.sink.idle.wait()
    assert office.files() == ["a.txt.json"]


async def test_inboxes_side_by_side_have_folders_of_their_own(office):
    office.sink = office.new_sink({"left": "left", "right": "right"})
    for source in ("left", "right"):
        await office.finish(await office.arrive("same/a.txt", source, source=source), error=ERROR)
    await office.deliver()
    assert office.files() == [
        "failed/left/same/a.txt",
        "failed/left/same/a.txt.error.json",
        "failed/right/same/a.txt",
        "failed/right/same/a.txt.error.json",
        "left/same/a.txt.json",
        "right/same/a.txt.json",
    ]


async def test_submitted_files_of_the_same_name_are_told_apart(office):
    ids = []
    for folder in ("/home/anna", "/home/ben"):
        ids.append(await office.arrive(f"{folder}/a.txt", folder, source="submit"))
        await office.finish(ids[-1])
    await office.finish(await office.arrive("/" + "x" * 255, "long", source="submit"), error=ERROR)
    await office.deliver()
    names = office.files()
    assert {f"submit/a-{event_id[:8]}.txt.json" for event_id in ids} <= set(names)
    assert len(names) == 5
