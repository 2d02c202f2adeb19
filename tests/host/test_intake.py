"""From arrivals to committed events: all of it, or nothing that the source would acknowledge."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from host.errors import JournalError, LibraryError
from host.identify import extension_of, identify
from host.intake import Accepted, Intake, Refused, Taken, Unsettled, event_id_of
from host.journal import Journal
from host.library import Library
from host.routes import Routes

PLUGINS = {"clip": frozenset({"on_image"}), "words": frozenset({"on_text"}), "more": frozenset({"on_text"})}


@dataclass(frozen=True)
class Letter:
    """An arrival whose content is in memory."""

    content: bytes
    origin: str = "letter.txt"
    source: str = "post"
    revision: str = "1"
    changed: int = 7
    tags: tuple[str, ...] = ()

    def take(self, library: Library, identify: Any, observe: Callable[[str], None]) -> Taken | Refused | Unsettled:
        observe("claimed")
        identity = identify(self.content, self.origin)
        if identity is None:
            return Refused("unknown")
        stored = library.add_bytes(self.content, extension_of(self.origin))
        observe("hashed")
        location = library.location_of(stored.path)
        return Taken(stored.sha256, stored.size, *identity, location=location, mark="", stored=stored.path)


@dataclass(frozen=True)
class Changing(Letter):
    def take(self, library: Library, identify: Any, observe: Any) -> Unsettled:
        return Unsettled()


@dataclass(frozen=True)
class NoRoom(Letter):
    def take(self, library: Library, identify: Any, observe: Any) -> Taken:
        raise LibraryError("The library cannot be written: it is full.")


@pytest.fixture
def steps() -> list[str]:
    return []


@pytest.fixture
def intake(journal: Journal, library: Library, steps: list[str]):
    intake = Intake(journal, library, Routes((), PLUGINS), identify, steps.append)
    yield intake
    intake.close()


async def counts(journal: Journal) -> tuple[int, int, int, int]:
    row = await journal.row("counts")
    assert row is not None
    return row["events"], row["arrivals"], row["queued"], row["refused"]


async def test_an_arrival_becomes_an_event_with_a_job_for_each_plugin_that_takes_it(intake, journal, library):
    letter = Letter(b"hello", origin="from/anna.txt", tags=("family", "anna"))
    [verdict] = await intake.accept([letter])
    assert isinstance(verdict, Accepted)
    event = await journal.row("event", id=verdict.event_id)
    assert dict(event) | {"created": 0} == {
        "id": event_id_of("text", hashlib.sha256(b"hello").hexdigest()),
        "kind": "text",
        "media_type": "text/plain",
        "sha256": hashlib.sha256(b"hello").hexdigest(),
        "size": 5,
        "location": f"2c/{hashlib.sha256(b'hello').hexdigest()}.txt",
        "mark": "",
        "name": "anna.txt",
        "source": "post",
        "origin": "from/anna.txt",
        "tags": '["family", "anna"]',
        "metadata": "{}",
        "parent": None,
        "created": 0,
        **{"maker": None, "role": "", "moment": None, "stale": 0},
    }
    assert library.resolve(event["location"]).read_bytes() == b"hello"
    jobs = await journal.rows("jobs_of_event", event_id=verdict.event_id)
    assert [(job["plugin"], job["state"]) for job in jobs] == [("more", "queued"), ("words", "queued")]


async def test_the_steps_come_in_the_order_that_makes_them_safe(intake, steps):
    await intake.accept([Letter(b"one"), Letter(b"two", origin="b.txt")])
    assert steps == ["claimed", "hashed", "claimed", "hashed", "in library", "committed"]


async def test_contents_are_durable_before_anything_is_committed(intake, journal, library, monkeypatch):
    order: list[str] = []
    sync, write = library.sync, journal.write
    monkeypatch.setattr(library, "sync", lambda stored: (order.append("sync"), sync(stored)))

    async def recorded(*statements: Any) -> None:
        order.append("commit")
        await write(*statements)

    monkeypatch.setattr(journal, "write", recorded)
    await intake.accept([Letter(b"one")])
    assert order == ["sync", "commit"]


async def test_an_arrival_that_comes_again_after_a_crash_adds_nothing(intake, journal):
    letter = Letter(b"hello")
    first = await intake.accept([letter])
    assert await intake.accept([letter]) == first
    assert await counts(journal) == (1, 1, 2, 0)


async def test_the_same_content_is_one_event_however_often_it_arrives(intake, journal):
    letters = [Letter(b"hello"), Letter(b"hello", origin="copy.txt"), Letter(b"hello", revision="2")]
    verdicts = await intake.accept(letters)
    assert len(set(verdicts)) == 1
    assert await counts(journal) == (1, 3, 2, 0)


async def test_an_arrival_of_what_is_worked_off_is_owed_its_sidecar_at_once(intake, journal):
    picture = Letter(b"\x89PNG\r\n\x1a\n", origin="a.png")
    await intake.accept([Letter(b'{"a": 1}', origin="a.json"), picture])  # nobody takes data: it is worked off
    owed = await journal.rows("owed", sink="sidecar", limit=10)
    assert [row["origin"] for row in owed] == ["a.json"]


async def test_what_is_refused_is_kept_with_its_reason_and_nothing_else(intake, journal):
    assert await intake.accept([Letter(b"\0\1\2")]) == [Refused("unknown")]
    [refusal] = await journal.rows("refusals", limit=10)
    assert (refusal["origin"], refusal["reason"], refusal["changed"]) == ("letter.txt", "unknown", 7)
    assert await counts(journal) == (0, 0, 0, 1)


async def test_an_accepted_content_ends_the_refusal_of_its_name(intake, journal):
    await intake.accept([Letter(b"\0\1\2")])
    await intake.accept([Letter(b"whole", revision="2")])
    assert await counts(journal) == (1, 1, 2, 0)


async def test_verdicts_come_in_the_order_of_the_arrivals(intake):
    verdicts = await intake.accept([Letter(b"\0\1"), Letter(b"fine"), Changing(b""), Letter(b"more")])
    assert [type(verdict) for verdict in verdicts] == [Refused, Accepted, Unsettled, Accepted]


async def test_what_changed_meanwhile_leaves_no_trace(intake, journal):
    assert await intake.accept([Changing(b"x")]) == [Unsettled()]
    assert await counts(journal) == (0, 0, 0, 0)


async def test_others_are_told_only_after_the_commit_and_only_of_what_is_new(intake, journal):
    told: list[Any] = []
    intake.on_committed = lambda plugins: told.append((sorted(plugins), journal.commits))
    intake.on_owed = lambda: told.append("owed")
    await intake.accept([Letter(b"hello")])
    assert told == [(["more", "words"], 1), "owed"]
    await intake.accept([Changing(b"x"), Letter(b"\0\1")])
    assert len(told) == 2


async def test_a_full_library_takes_nothing_and_says_so(intake, journal):
    with pytest.raises(LibraryError, match="full"):
        await intake.accept([NoRoom(b"a"), Letter(b"b")])
    assert await counts(journal) == (0, 0, 0, 0)


async def test_what_was_stored_before_the_library_was_full_is_committed(intake, journal):
    verdicts = await intake.accept([Letter(b"a"), NoRoom(b"b"), Letter(b"c")])
    assert [type(verdict) for verdict in verdicts] == [Accepted, Unsettled, Unsettled]
    assert "full" in verdicts[1].reason
    assert await counts(journal) == (1, 1, 2, 0)


async def test_a_failed_commit_acknowledges_nothing(intake, journal, monkeypatch):
    told: list[Any] = []
    intake.on_committed = told.append

    async def refuses(*statements: Any) -> None:
        raise JournalError("The journal refused a write: database or disk is full.")

    monkeypatch.setattr(journal, "write", refuses)
    with pytest.raises(JournalError):
        await intake.accept([Letter(b"hello")])
    assert told == []


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("a/b.PNG", ".png"),
        ("archive.tar.gz", ".gz"),
        ("none", ""),
        (".hidden", ""),
        ("odd.p/ng", ""),
        ("odd.p ng", ""),
        ("odd.pñg", ""),
        ("odd.../../x", ""),
        ("x." + "y" * 20, ""),
    ],
)
def test_only_a_plain_extension_goes_into_the_library(name, extension):
    assert extension_of(name) == extension
