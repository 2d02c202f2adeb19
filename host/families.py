"""What plugins make of events: files that become events of their own, and the jobs that wait until all are finished.

    made in a worker's scratch folder → in library (durable) → committed with the parent's results → jobs by the routes
    the last job of a family is finished → what gathers in it is released, in the same commit

A file that is made once more, of the same content at the same place in its parent, is the same event: a job that is
done again after a crash adds nothing. A plugin never gets what was made of its own making: no circle can close.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from hooks import InvalidPlugin
from host.findings import Made, Outcome, opened
from host.identify import HEAD, Identity, extension_of
from host.journal import Journal, Row, Statement
from host.library import Library
from host.queues import Job
from host.reports import event_views
from host.routes import Routes
from host.steps import Observe
from host.views import EventView

DEEPEST = 3  # what is made of something that was made of something that arrived
MOST = 20_000  # files made of one event

Identify = Callable[[bytes, str], Identity | None]


@dataclass(slots=True)
class Children:
    """What a commit adds to families: rows for the journal, whose queues get something, and which files go then."""

    statements: list[Statement] = field(default_factory=list)
    plugins: set[str] = field(default_factory=set)
    files: list[Path] = field(default_factory=list)


class Families:
    """Takes made files in, and knows when a family is finished."""

    def __init__(
        self,
        journal: Journal,
        library: Library,
        routes: Routes,
        identify: Identify,
        observe: Observe = lambda step: None,
        *,
        arrive: bool = False,
    ) -> None:
        """With `arrive`, what is made counts as arrived with its parent, and so has sidecars and is published."""
        self._arrive = arrive
        self._journal = journal
        self._library = library
        self.routes = self._routes = routes
        self._identify = identify
        self._observe = observe
        self._gathering = False  # whether anything was ever derived: most hosts ask the journal once, and no further
        self._asked = False

    # -- what was made -----------------------------------------------------------------------------------------------

    async def ancestry(self, outcomes: Iterable[Outcome]) -> dict[str, list[Row]]:
        """For each event of which something was made: itself, and what it was made of."""
        events = {outcome.job.event_id for outcome in outcomes if outcome.made}
        return {event: await self._journal.rows("ancestors", event_id=event) for event in events}

    def take(self, outcomes: Sequence[Outcome], ancestry: Mapping[str, Sequence[Row]]) -> Children:
        """Take copies of made files into the library, durably; blocks.

        An outcome whose files cannot be taken in becomes a failure. Raises LibraryError when none can be.
        """
        children = Children()
        for outcome in outcomes:
            if outcome.made and not outcome.failure:
                try:
                    self._take(outcome, ancestry[outcome.job.event_id], children)
                except InvalidPlugin as error:
                    outcome.failure = str(error)
        if children.files:
            self._observe("derived in library")
        return children

    def _take(self, outcome: Outcome, ancestors: Sequence[Row], children: Children) -> None:
        job = outcome.job
        makers = {job.plugin, *(row["maker"] for row in ancestors if row["maker"])}
        if len(ancestors) > DEEPEST:
            raise InvalidPlugin(
                f"{job.plugin} made files of what was made of made files: {DEEPEST} times is the limit."
            )
        if len(outcome.made) > MOST:
            raise InvalidPlugin(f"{job.plugin} made {len(outcome.made)} files of one event; {MOST} is the limit.")
        rows: dict[str, dict[str, Any]] = {}
        stored: list[Path] = []
        for made in outcome.made:
            row, path = self._take_file(made, job)
            rows[row["id"]] = row
            stored.append(path)
        self._library.sync(stored)
        now = time.time()
        jobs: list[dict[str, Any]] = []
        background: list[dict[str, Any]] = []
        for row in rows.values():
            about = (row["kind"], row["media_type"], row["source"], row["origin"])
            for plugin in self._routes.plugins_for(*about):
                if plugin not in makers:
                    later = self._routes.is_background(plugin, *about)
                    (background if later else jobs).append({"event_id": row["id"], "plugin": plugin, "queued": now})
        parent = job.event
        finishers = self._routes.finishers_for(parent["kind"], parent["media_type"], parent["source"], parent["origin"])
        gathering = [{"event_id": job.event_id, "plugin": plugin, "queued": now} for plugin in finishers]
        children.statements += [
            Statement("outdate_derived", [{"parent": job.event_id, "maker": job.plugin}]),
            Statement("insert_derived", list(rows.values())),
            Statement("arrive_derived", list(rows.values()) if self._arrive else []),
            Statement("insert_job", jobs),
            Statement("insert_background_job", background),
            Statement("insert_gathering", gathering),
        ]
        children.plugins |= {row["plugin"] for row in jobs + background}
        children.files += [made.path for made in outcome.made]
        self._gathering = True

    def _take_file(self, made: Made, job: Job) -> tuple[dict[str, Any], Path]:
        with opened(made.path, job.plugin) as descriptor, self._library.receive(descriptor) as receipt:
            identity = self._identify(receipt.head(HEAD), made.name)
            if identity is None:
                raise InvalidPlugin(f"{job.plugin} made {made.name}, which is of no known type.")
            stored = receipt.store(extension_of(made.name))
        kind, media_type = identity
        parent = job.event
        row = {
            "id": derived_id(parent["id"], kind, stored.sha256, made),
            "kind": kind,
            "media_type": media_type,
            "sha256": stored.sha256,
            "size": stored.size,
            "location": self._library.location_of(stored.path),
            "name": made.name,
            "source": parent["source"],
            "origin": parent["origin"],
            "tags": parent["tags"],
            "metadata": json.dumps(made.metadata),
            "parent": parent["id"],
            "maker": job.plugin,
            "role": made.role,
            "moment": made.moment,
            "created": time.time(),
        }
        return row, stored.path

    # -- what is finished --------------------------------------------------------------------------------------------

    async def stirred(self, jobs: Sequence[Job]) -> list[Statement]:
        """The writes by which whoever gathers in the families of finished jobs learns of them."""
        # What gathers in an event says nothing to itself, nor to others that gather in the same.
        ids = {job.event["parent"] if job.gathers else job.event_id for job in jobs}
        return await self.stirring(ids - {None})

    async def stirring(self, events: Iterable[str]) -> list[Statement]:
        """The writes by which whoever gathers in the families of these events learns that something is finished."""
        if not self._asked:
            if await self._journal.row("gathering") is not None:
                self._gathering = True  # never False here: something may have been made meanwhile
            self._asked = True
        if not self._gathering:
            return []
        return [Statement("stir_gathering", [{"ids": json.dumps(sorted(events)), "queued": time.time()}])]

    async def released(self, events: Iterable[str]) -> dict[str, list[int]]:
        """Jobs, by plugin, that nothing holds back any more since something of these events is finished."""
        if not self._gathering:
            return {}
        found: dict[str, list[int]] = {}
        for row in await self._journal.rows("released", ids=json.dumps(sorted(set(events)))):
            found.setdefault(row["plugin"], []).append(row["seq"])
        return found


def derived_id(parent: str, kind: str, sha256: str, made: Made) -> str:
    """The id of a derived event: the same content may stand at several places of its parent, and in other parents."""
    place = f"{made.role}\0{'' if made.moment is None else round(made.moment * 1000)}"
    return hashlib.sha256(f"{parent}\0{kind}\0{sha256}\0{place}".encode()).hexdigest()[:20]


async def family_of(event_id: str, journal: Journal, library: Library) -> list[EventView]:
    """An event and all that was derived from it, as it stands now, in the order of their moments."""
    ids = [row["id"] for row in await journal.rows("family", event_id=event_id)]
    views = await event_views(ids, journal, library)
    return [views[one] for one in ids if one in views]


def family_payload(family: Sequence[EventView]) -> bytes:
    """A family as a worker gets it: JSON of a list of `hooks.Finished`."""
    return to_json([finished_payload(view) for view in family])


def finished_payload(view: EventView) -> dict[str, Any]:
    event = view.event.model_dump(mode="json")
    found = [
        {"plugin": one.plugin, "type": one.type, "version": one.version, "data": one.data, "artifact": one.artifact}
        for one in view.results
    ]
    return {"event": event, "found": found, "failures": {one.plugin: one.message for one in view.failures}}
