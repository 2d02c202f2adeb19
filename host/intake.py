"""From arrivals to committed events, many at a time.

    claimed → hashed → in library (durable) → committed → the source may acknowledge

Everything up to `committed` can be repeated: contents are stored by hash and rows are keyed by origin, revision and
content, so an arrival that comes again after a crash finds its own traces and adds nothing. `observe` is told each
step by name; the tests kill the host there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol

from hooks.events import Kind
from host.identify import Identity
from host.journal import SIDECAR, Journal, Statement
from host.library import Library
from host.routes import Routes
from host.steps import Observe

Identify = Callable[[bytes, str], Identity | None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A content that was read: its hash and size, what it is, and where it lies (see `events` in the schema)."""

    sha256: str
    size: int
    kind: Kind
    media_type: str
    location: str
    mark: str
    stored: Path | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The arrival will not become an event, for a reason that a person understands."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unsettled:
    """The content changed or went away while it was read: the source looks at it again."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The arrival is committed; the source may acknowledge it."""

    event_id: str


Verdict = Accepted | Refused | Unsettled


class Arrival(Protocol):
    """What a source noticed. `take` runs in a thread and may be called again after a crash."""

    @property
    def source(self) -> str: ...

    @property
    def origin(self) -> str: ...

    @property
    def revision(self) -> str: ...

    @property
    def changed(self) -> int: ...

    @property
    def tags(self) -> tuple[str, ...]: ...

    def take(self, library: Library, identify: Identify, observe: Observe) -> Taken | Refused | Unsettled:
        """Read the content, once; store it if it does not stay where it is."""


def event_id_of(kind: str, sha256: str) -> str:
    """The id of an event: the same content is the same event."""
    return hashlib.sha256(f"{kind}\0{sha256}".encode()).hexdigest()[:20]


def extension_of(name: str) -> str:
    """The extension under which the library keeps a content, so that other programs can open it; '' if it is odd."""
    suffix = PurePath(name).suffix.lower()
    return suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 10 else ""


class Intake:
    """Takes arrivals in; several sources share one."""

    def __init__(self, journal: Journal, library: Library, routes: Routes, identify: Identify, observe: Observe) -> None:
        self._journal = journal
        self._library = library
        self._routes = routes
        self._identify = identify
        self._observe = observe
        # One thread: two would compete for the interpreter, and the event loop would wait for both.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self.on_committed: Callable[[set[str]], None] = lambda plugins: None
        self.on_owed: Callable[[], None] = lambda: None

    def close(self) -> None:
        """Wait for the thread to finish what it has begun."""
        self._thread.shutdown(wait=True)

    async def accept(self, arrivals: Sequence[Arrival]) -> list[Verdict]:
        """Commit the events and jobs of a group of arrivals; one verdict for each, in order."""
        taken = await asyncio.get_running_loop().run_in_executor(self._thread, self._take_all, arrivals)
        await self._commit(list(zip(arrivals, taken, strict=True)))
        return [self._verdict(content) for content in taken]

    def _take_all(self, arrivals: Sequence[Arrival]) -> list[Taken | Refused | Unsettled]:
        taken = [arrival.take(self._library, self._identify, self._observe) for arrival in arrivals]
        self._library.sync(content.stored for content in taken if isinstance(content, Taken) and content.stored)
        self._observe("in library")
        return taken

    async def _commit(self, pairs: list[tuple[Arrival, Taken | Refused | Unsettled]]) -> None:
        now = time.time()
        accepted = [(arrival, content) for arrival, content in pairs if isinstance(content, Taken)]
        events = [_event_row(arrival, content, now) for arrival, content in accepted]
        jobs = [
            {"event_id": event["id"], "plugin": plugin, "queued": now}
            for event, (arrival, content) in zip(events, accepted, strict=True)
            for plugin in self._routes.plugins_for(content.kind, content.media_type, arrival.source, arrival.origin)
        ]
        marks = [_mark(arrival, event["id"]) for event, (arrival, _) in zip(events, accepted, strict=True)]
        refused = [
            {**_mark(arrival, None), "reason": content.reason, "seen": now}
            for arrival, content in pairs
            if isinstance(content, Refused)
        ]
        await self._journal.write(
            Statement("insert_event", events),
            Statement("insert_arrival", [{**mark, "seen": now} for mark in marks]),
            Statement("insert_job", jobs),
            Statement("owe_arrival", [{**mark, "sink": SIDECAR} for mark in marks]),
            Statement("forget_refusal", marks),
            Statement("refuse_arrival", refused),
        )
        self._observe("committed")
        if marks:
            self.on_committed({job["plugin"] for job in jobs})
            self.on_owed()

    def _verdict(self, content: Taken | Refused | Unsettled) -> Verdict:
        return Accepted(event_id_of(content.kind, content.sha256)) if isinstance(content, Taken) else content


def _mark(arrival: Arrival, event_id: str | None) -> dict[str, Any]:
    return {
        "source": arrival.source,
        "origin": arrival.origin,
        "revision": arrival.revision,
        "changed": arrival.changed,
        "event_id": event_id,
    }


def _event_row(arrival: Arrival, content: Taken, now: float) -> dict[str, Any]:
    return {
        "id": event_id_of(content.kind, content.sha256),
        "kind": content.kind,
        "media_type": content.media_type,
        "sha256": content.sha256,
        "size": content.size,
        "location": content.location,
        "mark": content.mark,
        "name": arrival.origin.rsplit("/", 1)[-1],
        "source": arrival.source,
        "origin": arrival.origin,
        "tags": json.dumps(arrival.tags),
        "metadata": "{}",
        "parent": None,
        "created": now,
    }
