"""Groups what arrived, by its vectors, and has each group named once.

    vectors that nobody looked at ─ join the nearest cluster ┬ placed
                                                             └ loose: with many of them all vectors are grouped again
    grouped again ─ matched by members with what is known ─ committed in one transaction
    those without a label ─ one call to label, one to enrich, committed each ─ albums

Whatever ends a run, the next one goes on: what is committed is not done again, and no cluster is labelled twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from array import array
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from hooks import Grouping, Task
from host.clustering.albums import Albums
from host.clustering.labels import Labeller
from host.clustering.matching import matched
from host.config import Clusters as Settings
from host.dispatcher import Dispatcher
from host.errors import NotFound, UsageError, WorkFailed
from host.journal import Journal, Row, Statement
from host.library import Library
from host.log import get_logger
from host.plugin_manager import PluginRegistry
from host.reports import event_facts
from host.views import ClusterMember, ClusterRun, ClusterView

PAGE = 1_000  # vectors read from the journal at once
SHOWN = 5

log = get_logger(__name__)


@dataclass(slots=True)
class Vectors:
    """Vectors in a file: their numbers in the journal, row by row, and how many numbers each has."""

    path: Path
    newest: int
    ids: array[int] = field(default_factory=lambda: array("q"))
    dimensions: int = 0


class Outline(NamedTuple):
    """A known cluster, as far as vectors are concerned."""

    id: int
    centre: bytes
    reach: float


class Clusters:
    """Groups, names and shows; `folder` holds vectors on their way to a worker, albums go into `outbox`."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        library: Library,
        registry: PluginRegistry,
        dispatcher: Dispatcher,
        folder: Path,
        outbox: Path,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._library = library
        self._registry = registry
        self._dispatcher = dispatcher
        self._folder = folder
        self._labeller = Labeller(journal, library, registry, dispatcher)
        self._albums = Albums(outbox / "albums", journal, library, registry, dispatcher)
        self._running = asyncio.Lock()

    # -- what is known -----------------------------------------------------------------------------------------------

    async def views(self, name: str | None = None) -> list[ClusterView]:
        """All clusters, the largest first, with their most typical members; or one with all of its members."""
        rows = [row for row in await self._journal.rows("clusters", space=None) if name in (None, row["name"])]
        if name is not None and not rows:
            raise NotFound(f"No cluster is called {name!r}.", "`sensorium clusters` lists them.")
        return [await self._view(row, SHOWN if name is None else -1) for row in rows]

    async def _view(self, row: Row, limit: int) -> ClusterView:
        members = await self._journal.rows("members", cluster=row["id"], limit=limit)
        label, enrichment = (json.loads(row[name]) if row[name] else None for name in ("label", "enrichment"))
        return ClusterView(
            id=row["id"],
            name=row["name"],
            space=row["space"],
            size=row["size"],
            label=label,
            enrichment=enrichment,
            provenance=json.loads(row["provenance"]),
            made=row["made"],
            members=[self._member(member) for member in members],
        )

    def _member(self, row: Row) -> ClusterMember:
        facts = event_facts(row, self._library)
        return ClusterMember(
            event=facts.id, origin=facts.origin, source=facts.source, path=facts.path, score=row["score"]
        )

    # -- a run -------------------------------------------------------------------------------------------------------

    async def run(self, *, anew: bool = False, relabel: bool = False) -> ClusterRun:
        """Place what is new, or with `anew` group everything again; name what has no name, with `relabel` everything.

        Raises UsageError when nothing groups vectors here, WorkFailed when the grouping fails.
        """
        log.debug("clusters are looked for", by=self._grouper)
        async with self._running:
            report = ClusterRun()
            for space in await self._journal.rows("cluster_spaces", derived=self._settings.derived):
                await self._look(space, anew, report)
            await self._labeller.label_all(report, again=relabel)
            rows = await self._journal.rows("clusters", space=None)
            report.clusters = len(rows)
            report.placed = sum(row["size"] for row in rows)
            spaces = await self._journal.rows("cluster_spaces", derived=self._settings.derived)
            report.noise = sum(row["vectors"] for row in spaces) - report.placed
            if self._settings.albums:
                report.albums = str(await self._albums.bring_up_to_date(report))
            return report

    async def looked(self) -> float:
        """When the last run looked at vectors, in seconds since 1970; 0 if none ever did."""
        row = await self._journal.row("clusters_looked")
        return float(row["looked"]) if row is not None else 0.0

    async def _look(self, space: Row, anew: bool, report: ClusterRun) -> None:
        if space["newest"] <= space["seen"] and not anew:
            return
        loose = int(space["loose"])
        if space["grouped"] and not anew:
            loose += await self._join(space, report)
            if loose < space["smallest"]:
                return
        await self._group(space, report)

    async def _join(self, space: Row, report: ClusterRun) -> int:
        """Have what is new join what is known; how many vectors found no place."""
        known = [
            Outline(row["id"], row["centre"], row["reach"])
            for row in await self._journal.rows("clusters", space=space["space"])
        ]
        async with self._vectors(space["space"], space["seen"]) as vectors:
            values = {"reaches": [outline.reach for outline in known], "count": space["vectors"]}
            found = await self._grouping(vectors, values, b"".join(outline.centre for outline in known))
        members = [
            {"embedding_id": vector, "cluster_id": known[group].id, "score": score}
            for vector, group, score in _placed(vectors, found)
        ]
        loose = len(vectors.ids) - len(members)
        state = _state(space, vectors.newest, space["loose"] + loose, space["grouped"], found)
        await self._journal.write(Statement("insert_member", members), Statement("looked_at_space", [state]))
        report.looked += len(vectors.ids)
        report.joined += len(members)
        return loose

    async def _group(self, space: Row, report: ClusterRun) -> None:
        """Group all vectors of a space; what is found again keeps its number and name."""
        name = space["space"]
        rows = {row["id"]: row for row in await self._journal.rows("clusters", space=name)}
        before = {row["embedding_id"]: row["cluster_id"] for row in await self._journal.rows("memberships", space=name)}
        async with self._vectors(name, 0) as vectors:
            found = await self._grouping(vectors, {"count": space["vectors"]})
        groups = {vector: group for vector, group, _ in _placed(vectors, found)}
        same = matched(groups, before)
        last = await self._journal.row("last_cluster")
        numbers = _numbers(len(found.reaches), same, int(last["id"]) if last is not None else 0)
        gone = sorted(set(rows) - set(same.values()))
        await self._journal.write(*self._changes(space, vectors, found, numbers, same, gone))
        report.grouped += len(vectors.ids)
        report.made += len(numbers) - len(same)
        report.kept += len(same)
        report.gone += [rows[cluster]["name"] for cluster in gone]

    def _changes(
        self,
        space: Row,
        vectors: Vectors,
        found: Grouping,
        numbers: Sequence[int],
        same: dict[int, int],
        gone: Iterable[int],
    ) -> list[Statement]:
        now, width = time.time(), 4 * vectors.dimensions
        centres = [found.centres[start : start + width] for start in range(0, len(found.centres), width or 1)]
        outlines = [
            {"id": number, "centre": centre, "reach": reach}
            for number, centre, reach in zip(numbers, centres, found.reaches, strict=True)
        ]
        provenance = json.dumps({"grouped": {"by": self._grouper, **self._dispatcher.provenance(self._grouper)}})
        fresh = {"space": space["space"], "provenance": provenance, "made": now}
        members = [
            {"embedding_id": vector, "cluster_id": numbers[group], "score": score}
            for vector, group, score in _placed(vectors, found)
        ]
        new = [{**one, **fresh, "name": f"cluster {one['id']}"} for one in outlines if one["id"] not in same.values()]
        return [
            Statement("drop_cluster", [{"id": number} for number in gone]),
            Statement("drop_members", [{"id": number} for number in same.values()]),
            Statement("insert_cluster", new),
            Statement("move_cluster", [one for one in outlines if one["id"] in same.values()]),
            Statement("insert_member", members),
            Statement("looked_at_space", [_state(space, vectors.newest, 0, now, found)]),
        ]

    # -- vectors to a worker and back --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _vectors(self, space: str, after: int) -> AsyncIterator[Vectors]:
        """The vectors of a space that came after one, in a file: page by page, so that the host's memory stays flat."""
        vectors = Vectors(self._folder / f"{os.getpid()}.vectors", after)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            vectors.path.write_bytes(b"")
            while rows := await self._page(space, vectors.newest):
                vectors.newest = rows[-1]["id"]
                await asyncio.to_thread(_append, vectors, rows)
            yield vectors
        finally:
            vectors.path.unlink(missing_ok=True)

    async def _page(self, space: str, after: int) -> list[Row]:
        derived = self._settings.derived
        return await self._journal.rows("cluster_vectors", space=space, after=after, derived=derived, limit=PAGE)

    async def _grouping(self, vectors: Vectors, values: dict[str, Any], centres: bytes = b"") -> Grouping:
        files, second = [vectors.path], vectors.path.with_suffix(".centres")
        try:
            if "reaches" in values:
                second.write_bytes(centres)
                files.append(second)
            task = Task(name="group", values={**values, "dimensions": max(1, vectors.dimensions)}, files=tuple(files))
            findings = await self._dispatcher.perform(self._grouper, task)
        finally:
            second.unlink(missing_ok=True)
        for finding in findings:
            if finding.type == Grouping.type:
                return _checked(finding.data, finding.blob or b"", vectors, values)
        raise WorkFailed("The plugin that groups vectors gave no groups.")

    @property
    def _grouper(self) -> str:
        plugin = self._registry.performer("group")
        if plugin is None:
            raise UsageError("No plugin in use groups vectors.", "`sensorium plugins` says why; `clusters` does it.")
        return plugin.name


def _append(vectors: Vectors, rows: Sequence[Row]) -> None:
    """Add a page; a vector of another length than the first cannot be compared, and is left out."""
    vectors.dimensions = vectors.dimensions or len(rows[0]["vector"]) // 4
    kept = [row for row in rows if len(row["vector"]) == 4 * vectors.dimensions]
    with vectors.path.open("ab") as file:
        file.writelines(row["vector"] for row in kept)
    vectors.ids.extend(row["id"] for row in kept)


def _placed(vectors: Vectors, found: Grouping) -> Iterator[tuple[int, int, float]]:
    """The vectors that have a group, with that and how typical they are of it."""
    for vector, group, score in zip(vectors.ids, found.groups, found.scores, strict=True):
        if group >= 0:
            yield vector, group, score


def _checked(data: dict[str, Any], centres: bytes, vectors: Vectors, values: dict[str, Any]) -> Grouping:
    """What a plugin said, if it is about these vectors. Raises WorkFailed."""
    try:
        found = Grouping.model_validate({**data, "centres": centres}, strict=False)
    except ValidationError as error:
        raise WorkFailed(f"The plugin that groups vectors gave no grouping ({error.error_count()} faults).") from error
    expected = len(values["reaches"]) if "reaches" in values else len(found.reaches)
    is_whole = (
        len(found.groups) == len(found.scores) == len(vectors.ids)
        and len(found.centres) == 4 * vectors.dimensions * len(found.reaches)
        and len(found.reaches) == expected
        and all(-1 <= group < expected for group in found.groups)
    )
    if not is_whole:
        raise WorkFailed("The plugin that groups vectors spoke of other vectors than it was given.")
    return found


def _numbers(count: int, same: dict[int, int], last: int) -> list[int]:
    """The cluster's number for each group: the known one, or the next that nobody had."""
    fresh = iter(range(last + 1, last + 1 + count))
    return [same[group] if group in same else next(fresh) for group in range(count)]


def _state(space: Row, newest: int, loose: int, grouped: float, found: Grouping) -> dict[str, Any]:
    return {
        "space": space["space"],
        "newest": newest,
        "loose": loose,
        "smallest": found.smallest,
        "grouped": grouped,
        "looked": time.time(),
    }
