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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hooks.events import Kind
from host.errors import LibraryError
from host.identify import Identity
from host.journal import SIDECAR, Journal, Statement
from host.library import Library
from host.routes import Routes
from host.steps import Observe

Identify = Callable[[bytes, str], Identity | None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A content that was read: its hash and size, what it is, and where it lies (see `events` in the schema).

    `metadata` is what its source knows of it. A small content may be committed with its event instead of being stored:
    then it is the `body`, and `location` is where it will lie.
    """

    sha256: str
    size: int
    kind: Kind
    media_type: str
    location: str
    mark: str
    stored: Path | None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The arrival will not become an event, for a reason that a person understands."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unsettled:
    """The content changed or went away while it was read, or there was no room for it: the source looks again."""

    reason: str = "It changed while it was read. Send it again when it is complete."


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


class Intake:
    """Takes arrivals in; several sources share one."""

    def __init__(
        self,
        journal: Journal,
        library: Library,
        routes: Routes,
        identify: Identify,
        observe: Observe = lambda step: None,
    ) -> None:
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
        """Commit the events and jobs of a group of arrivals; one verdict for each, in order.

        Raises LibraryError or JournalError when none of them can be taken in; the same group may come again.
        """
        prepared = await asyncio.get_running_loop().run_in_executor(self._thread, self._prepare, arrivals)
        # Apart, though in one commit: what another group refused or accepted before this one keeps its order then.
        await asyncio.gather(*(self._journal.write(*unit) for unit in prepared.units))
        self._observe("committed")
        if any(isinstance(verdict, Accepted) for verdict in prepared.verdicts):
            self.on_committed(prepared.plugins)
            self.on_owed()
        return prepared.verdicts

    def _prepare(self, arrivals: Sequence[Arrival]) -> _Prepared:
        """Everything but the commit, in the intake's thread: for hundreds of arrivals it takes its time."""
        contents = self._take_all(arrivals)
        now = time.time()
        events: list[dict[str, Any]] = []
        bodies: list[dict[str, Any]] = []
        marks: list[dict[str, Any]] = []
        jobs: list[dict[str, Any]] = []
        background: list[dict[str, Any]] = []
        notices: list[dict[str, Any]] = []
        refused: list[dict[str, Any]] = []
        verdicts: list[Verdict] = []
        for arrival, content in zip(arrivals, contents, strict=True):
            if not isinstance(content, Taken):
                verdicts.append(content)
                if isinstance(content, Refused):
                    refused.append({**_mark(arrival, None), "reason": content.reason, "seen": now})
            else:
                event = _event_row(arrival, content, now)
                events.append(event)
                verdicts.append(Accepted(event["id"]))
                if content.body is not None:
                    bodies.append({"event_id": event["id"], "body": content.body})
                marks.append({**_mark(arrival, event["id"]), "seen": now, "sink": SIDECAR})
                notices += [{**marks[-1], "sink": sink} for sink in self._routes.sinks_for(*_about(event))]
                for plugin, later in self._plugins_for(event):
                    (background if later else jobs).append({"event_id": event["id"], "plugin": plugin, "queued": now})
        accepted = (
            Statement("insert_event", events),
            Statement("rest_content", bodies),
            Statement("insert_arrival", marks),
            Statement("insert_job", jobs),
            Statement("insert_background_job", background),
            Statement("owe_arrival", marks),
            Statement("notify_arrival", notices),
            Statement("forget_refusal", marks),
        )
        units = [unit for unit in (accepted, (Statement("refuse_arrival", refused),)) if unit[0].rows]
        return _Prepared(units, {job["plugin"] for job in jobs + background}, verdicts)

    def _take_all(self, arrivals: Sequence[Arrival]) -> list[Taken | Refused | Unsettled]:
        contents: list[Taken | Refused | Unsettled] = []
        for arrival in arrivals:
            try:
                contents.append(arrival.take(self._library, self._identify, self._observe))
            except LibraryError as error:  # a full disk: what is stored already can be committed, and then given up
                if not any(isinstance(content, Taken) for content in contents):
                    raise
                contents += [Unsettled(str(error))] * (len(arrivals) - len(contents))
                break
        self._library.sync(content.stored for content in contents if isinstance(content, Taken) and content.stored)
        self._observe("in library")
        return contents

    def _plugins_for(self, event: dict[str, Any]) -> list[tuple[str, bool]]:
        """Which plugins work on an event, and whether that waits for all that is not background."""
        about = _about(event)
        return [(plugin, self._routes.is_background(plugin, *about)) for plugin in self._routes.plugins_for(*about)]


def _about(event: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """What routes look at."""
    return event["kind"], event["media_type"], event["source"], event["origin"]


@dataclass(frozen=True, slots=True)
class _Prepared:
    units: Sequence[Sequence[Statement]]
    plugins: set[str]
    verdicts: list[Verdict]


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
        "metadata": json.dumps(content.metadata),
        "parent": None,
        "created": now,
    }
