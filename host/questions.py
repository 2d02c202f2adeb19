"""The service's answers: what people and machines may ask of a host, running or not."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from hooks import API_VERSION
from host.config import Config
from host.dispatcher import Dispatcher, event_payload
from host.errors import NotFound, UsageError
from host.explain import explain
from host.findings import Finding
from host.identify import HEAD, identify
from host.intake import event_id_of
from host.journal import Journal, Row, Statement
from host.leasing.leases import Leases, Slot
from host.library import Library, hash_file
from host.names import to_text
from host.plugin_manager import Plugin, PluginRegistry
from host.reports import event_facts, event_view, failure_view, job_counts, refusal_view
from host.search import Search
from host.sources.folder import FolderSource
from host.views import (
    DeviceView,
    EventView,
    Explanation,
    Hit,
    InboxView,
    ModelView,
    PluginView,
    QueueView,
    Status,
)

RECENT = 5


class Questions:
    """Everything of `views.Service` that does not take files in."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        library: Library,
        registry: PluginRegistry,
        search: Search,
        dispatcher: Dispatcher,
        leases: Leases,
        sources: Sequence[FolderSource],
    ) -> None:
        self.config = config
        self.journal = journal
        self.library = library
        self.registry = registry
        self.search_index = search
        self.running_pid: int | None = None
        self._dispatcher = dispatcher
        self._leases = leases
        self._sources = sources

    def _with_workers(self) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError

    # -- at a glance -------------------------------------------------------------------------------------------------

    async def status(self) -> Status:
        """The whole host at a glance."""
        counts = await self._journal_counts()
        return Status(
            running=self.running_pid,
            data=str(self.config.paths.data),
            outbox=str(self.config.paths.outbox),
            paused=self._leases.paused,
            **counts,
            inboxes=[_inbox_view(source) for source in self._sources],
            queues=await self._queue_views(),
            devices=self._device_views() if self.running_pid else [],
            failures=[failure_view(row) for row in await self.journal.rows("failed_jobs", plugin=None, limit=RECENT)],
            refusals=[refusal_view(row) for row in await self.journal.rows("refusals", limit=RECENT)],
        )

    async def _journal_counts(self) -> dict[str, int]:
        row = await self.journal.row("counts")
        return dict(row) if row is not None else {}

    async def job_counts(self) -> dict[str, dict[str, int]]:
        """Jobs by plugin and state."""
        return job_counts(await self.journal.rows("counts_by_plugin"))

    async def _queue_views(self) -> list[QueueView]:
        counts = await self.job_counts()
        running = [job.plugin for job in list(self._dispatcher.running.values())]
        views = []
        for plugin in sorted(counts.keys() | self.registry.hooks_of_plugins().keys()):
            states = counts.get(plugin, {})
            views.append(
                QueueView(
                    plugin=plugin,
                    queued=states.get("queued", 0),
                    running=running.count(plugin),
                    done=states.get("done", 0),
                    failed=states.get("failed", 0),
                )
            )
        return views

    def _device_views(self) -> list[DeviceView]:
        views = []
        for device in self._leases.devices:
            turn = self._leases.turn_on(device.name)
            slots = {name: slot for name, slot in self._leases.slots.items() if slot.device.name == device.name}
            resident = [name for name, slot in slots.items() if slot.state != "unloaded"]
            views.append(
                DeviceView(
                    name=device.name,
                    kind=device.kind,
                    budget_mb=device.memory_mb,
                    used_mb=round(sum(_memory_of(slots[name]) for name in resident)),
                    holder=turn.model if turn else None,
                    fence=turn.fence if turn else 0,
                    residents=resident,
                )
            )
        return views

    async def plugins(self) -> list[PluginView]:
        """All plugins that are installed, usable or not."""
        usable = [_plugin_view(plugin) for plugin in self.registry.usable.values()]
        others = [
            PluginView(
                name=one.name,
                version=one.version,
                distribution=one.distribution,
                api=str(API_VERSION),
                hooks=[],
                enabled=not one.disabled,
                model=None,
                problem=one.problem,
            )
            for one in self.registry.unusable
        ]
        return sorted(usable + others, key=lambda view: view.name)

    async def models(self) -> list[ModelView]:
        """All models of the enabled plugins."""
        return [
            _model_view(plugin, self._leases.slots[name], self._dispatcher.pid(name))
            for name, plugin in self.registry.usable.items()
            if plugin.has_model
        ]

    async def pause(self, paused: bool) -> bool:
        """Stop (or go on) giving work to models; what arrives is still taken in. Returns the new state."""
        if self.running_pid is None:
            raise UsageError("No host runs that could be paused.", "Start one with `sensorium run`.")
        self._leases.pause(paused)
        return paused

    # -- events ------------------------------------------------------------------------------------------------------

    async def results(self, query: str | None = None, limit: int = 20) -> list[EventView]:
        """What was found: for a path, an event id (or its beginning), or the latest events."""
        if query is None:
            rows = await self.journal.rows("latest_events", limit=limit)
            return [await self.view(row["id"]) for row in rows]
        return [await self.view(event_id) for event_id in await self._find(query)]

    async def view(self, event_id: str) -> EventView:
        """Everything that is known of an event."""
        return await event_view(event_id, self.journal, self.library)

    async def why(self, query: str) -> Explanation:
        """What happened to a path or event id, and what to do."""
        with contextlib.suppress(NotFound):
            found = await self._find(query)
            return await explain(query, found[0], self._facts())
        return await explain(query, None, self._facts())

    def _facts(self) -> Any:
        from host.explain import Facts

        return Facts(self.journal, self.library, self._sources, self._dispatcher, self._leases, self.running_pid)

    async def requeue(self, queries: list[str], plugin: str | None = None, done: bool = False) -> int:
        """Queue failed jobs again (with `done`, finished ones too); without queries all of them. Returns how many."""
        if plugin is not None and plugin not in self.registry.usable:
            raise NotFound(f"No plugin {plugin!r} is in use.", "`sensorium plugins` lists them.")
        events = [event for query in queries for event in await self._find(query)] if queries else [None]
        states = ("failed", "done") if done else ("failed",)
        jobs = [
            row
            for event in events
            for state in states
            for row in await self.journal.rows("jobs_to_requeue", event_id=event, plugin=plugin, state=state)
            if row["plugin"] in self.registry.usable
        ]
        await self.journal.write(
            Statement("requeue_job", [{"seq": row["seq"], "queued": time.time()} for row in jobs])
        )
        for name in {row["plugin"] for row in jobs}:
            mine = [row["seq"] for row in jobs if row["plugin"] == name]
            await self._dispatcher.take_back(name, mine)
        return len(jobs)

    async def _find(self, query: str) -> list[str]:
        """Event ids for a path or the beginning of an id. Raises NotFound."""
        for row in await self.journal.rows("events_by_prefix", prefix=query.lower()) if _is_hex(query) else ():
            return [row["id"]]
        path = os.path.abspath(query)
        for source in self._sources:
            if (origin := source.origin_of(path)) is not None:
                rows = await self.journal.rows("arrivals_by_origin", origin=origin, source=source.inbox.name)
                found = list(dict.fromkeys(row["event_id"] for row in rows if row["event_id"]))
                if found:
                    return found[:1]
        for origin in dict.fromkeys((to_text(path), to_text(query))):
            rows = await self.journal.rows("arrivals_by_origin", origin=origin, source=None)
            if found := [row["event_id"] for row in rows if row["event_id"]]:
                return found[:1]
        return await self._find_content(path, query)

    async def _find_content(self, path: str, query: str) -> list[str]:
        digest = Path(query).stem
        if os.path.isfile(path):
            digest, _ = await asyncio.to_thread(_hash, path)
        rows = await self.journal.rows("events_by_sha256", sha256=digest)
        if not rows:
            raise NotFound(f"Nothing is known of {query}.", "Name a file in an inbox, a submitted file, or an event id.")
        return [row["id"] for row in rows]

    # -- search ------------------------------------------------------------------------------------------------------

    async def search(self, text: str | None = None, like: str | None = None, limit: int = 10) -> list[Hit]:
        """The events nearest to a text or to a picture, best first."""
        if (text is None) == (like is None):
            raise UsageError("Say what to search for: a text, or a picture with --like.")
        embedders = self.registry.embedders()
        if not embedders:
            raise UsageError("No plugin in use can search.", "`sensorium plugins` says why; `clip` is the usual one.")
        space, vector = await self._vector(embedders[0], text, like)
        neighbours = await self.search_index.nearest(space, vector, limit)
        hits = [(one, await self.journal.row("event", id=one.event_id)) for one in neighbours]
        return [_hit(one.score, row, self.library) for one, row in hits if row is not None]

    async def _vector(self, plugin: Plugin, text: str | None, like: str | None) -> tuple[str, bytes]:
        if text is not None:
            found = await self._ask(plugin, {"op": "query", "texts": [text]})
        else:
            found = await self._ask(plugin, await self._picture_request(str(like)))
        for finding in found:
            if finding.type == "embedding" and finding.blob is not None:
                return str(finding.data["space"]), finding.blob
        raise UsageError(f"{plugin.name} gave no vector for that.")

    async def _ask(self, plugin: Plugin, body: dict[str, Any]) -> list[Finding]:
        async with self._with_workers():
            return await self._dispatcher.ask(plugin.name, body)

    async def _picture_request(self, like: str) -> dict[str, Any]:
        path = os.path.abspath(like)
        if not os.path.isfile(path):
            raise NotFound(f"There is no file {like}.")
        sha256, size = await asyncio.to_thread(_hash, path)
        head = await asyncio.to_thread(_head, path)
        identity = identify(head, path)
        if identity is None or identity[0] != "image":
            raise UsageError(f"{like} is not a picture.", "--like takes pictures.")
        row = {
            "kind": "image", "id": event_id_of("image", sha256), "media_type": identity[1], "sha256": sha256, "size": size,
            "name": os.path.basename(path), "source": "search", "origin": path, "parent": None, "created": time.time(),
            "location": path, "tags": "[]", "metadata": "{}",
        }  # fmt: skip
        return {"op": "run", "hook": "on_image", "events": [event_payload(row, self.library)]}


def _hit(score: float, row: Row, library: Library) -> Hit:
    facts = event_facts(row, library)
    return Hit(score=score, path=facts.path, event=facts.id, origin=facts.origin, source=facts.source, kind=facts.kind)


def _inbox_view(source: FolderSource) -> InboxView:
    inbox = source.inbox
    return InboxView(
        name=inbox.name,
        path=str(inbox.path),
        mode=inbox.mode,
        after=inbox.after,
        settling=source.settling,
        taking=source.taking,
        alarm=source.alarm,
    )


def _memory_of(slot: Slot) -> float:
    return slot.measured_mb or slot.spec.memory_mb


def _plugin_view(plugin: Plugin) -> PluginView:
    return PluginView(
        name=plugin.name,
        version=plugin.version,
        distribution=plugin.distribution,
        api=str(API_VERSION),
        hooks=sorted(plugin.hooks),
        enabled=True,
        model=plugin.spec.name if plugin.has_model else None,
    )


def _model_view(plugin: Plugin, slot: Slot, pid: int) -> ModelView:
    missing = [str(path) for path in plugin.spec.files if not path.exists()]
    return ModelView(
        plugin=plugin.name,
        name=plugin.spec.name,
        device=slot.device.name,
        declared_mb=plugin.spec.memory_mb,
        measured_mb=slot.measured_mb,
        load_seconds=slot.load_seconds,
        state=slot.state,
        pid=pid or None,
        waiting=slot.waiting,
        batch=plugin.spec.batch,
        keep_alive=plugin.spec.keep_alive,
        problem=f"missing: {', '.join(missing)}" if missing else "",
    )


def _is_hex(query: str) -> bool:
    return len(query) >= 4 and all(character in "0123456789abcdef" for character in query.lower())


def _hash(path: str) -> tuple[str, int]:
    with open(path, "rb") as file:
        return hash_file(file.fileno())


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEAD)
