"""The service's answers: what people and machines may ask of a host, running or not."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from hooks import Kind, Task
from host import lease_views
from host.asking import Asking
from host.clustering import Clusters
from host.config import Config
from host.dispatcher import Dispatcher
from host.errors import NotFound, UsageError
from host.explain import Facts, explain
from host.findings import Finding
from host.handover import event_payload
from host.hits import DEPTH, Hits
from host.identify import HEAD, identify
from host.intake import event_id_of
from host.journal import Journal, Statement
from host.leasing.history import History
from host.leasing.leases import Leases
from host.leasing.plan import forecast, planned_devices
from host.leasing.yielding import Yielding
from host.library import Library
from host.lookup import find_event, hash_of, path_of
from host.overview import device_views, inbox_views, model_views, plugin_views, queue_views
from host.plugin_manager import DISABLED, Plugin, PluginRegistry
from host.reports import event_view, event_views, failure_view, job_counts, refusal_view
from host.search import Search
from host.search.moments import Find, Moment, fused
from host.search.words import plain
from host.sinks.plugin import sink_views
from host.sources.folder import FolderSource
from host.views import (
    AnswerPart,
    AnswerView,
    ClusterRun,
    ClusterView,
    EventView,
    Explanation,
    Hit,
    LeaseHistory,
    LeaseTable,
    ModelView,
    MqttView,
    PlanView,
    PluginView,
    ResultView,
    SourceView,
    Status,
    TaskView,
)

RECENT = 5
SHOWN_PICTURES = 3  # that a question is answered from, at most
SHOWING_NOTHING: frozenset[Kind] = frozenset({"audio", "text", "data"})


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
        history: History | None,
        yielding: Yielding,
        sources: Sequence[FolderSource],
        *,
        read_only: bool = False,
    ) -> None:
        self.config = config
        self.journal = journal
        self.library = library
        self.registry = registry
        self.search_index = search
        self._hits = Hits(journal, library, search)
        self.dispatcher = dispatcher
        self.leases = leases
        self.history = history
        self.yielding = yielding
        self.sources = sources
        self.read_only = read_only
        self.running_pid: int | None = None
        self._asking = Asking(journal, self._hits, registry, dispatcher)
        folder = config.paths.data / "scratch" / "cluster-vectors"
        self._clusters = Clusters(config.clusters, journal, library, registry, dispatcher, folder, config.paths.outbox)

    def _with_workers(self) -> AbstractAsyncContextManager[None]:
        raise NotImplementedError

    async def broker_view(self) -> MqttView | None:
        """The broker, None where none is configured."""
        raise NotImplementedError

    def source_views(self) -> list[SourceView]:
        """The sources that plugins read."""
        return []

    def _must_own(self) -> None:
        if self.read_only:
            raise UsageError("The data directory was opened to read only.", "Nothing was changed.")

    # -- at a glance -------------------------------------------------------------------------------------------------

    async def status(self) -> Status:
        """The whole host at a glance."""
        return Status(
            running=self.running_pid,
            data=str(self.config.paths.data),
            outbox=str(self.config.paths.outbox),
            paused=self.leases.paused,
            pause_reason=self.leases.why_paused,
            **await self._totals(),
            inboxes=inbox_views(self.sources),
            mqtt=await self.broker_view(),
            sources=self.source_views(),
            sinks=sink_views(await self.journal.rows("notices_by_sink"), self.registry.sinks()),
            queues=queue_views(await self._job_counts(), self.registry, self.dispatcher),
            devices=device_views(self.leases, self.dispatcher.crew) if self.running_pid else [],
            failures=[failure_view(row) for row in await self.journal.rows("failed_jobs", plugin=None, limit=RECENT)],
            refusals=[refusal_view(row) for row in await self.journal.rows("refusals", limit=RECENT)],
        )

    async def _totals(self) -> dict[str, int]:
        row = await self.journal.row("counts")
        return dict(row) if row is not None else {}

    async def _job_counts(self) -> dict[str, dict[str, int]]:
        return job_counts(await self.journal.rows("counts_by_plugin"))

    async def plugins(self) -> list[PluginView]:
        """All plugins that are installed, usable or not."""
        return plugin_views(self.registry, self.dispatcher.records)

    async def switch_plugin(self, plugin: str, enabled: bool) -> bool:
        """Disable a plugin, or enable it again, for good. False: what runs now does so from its next start on."""
        self._must_own()
        unusable = {one.name: one for one in self.registry.unusable}
        if plugin not in self.registry.usable and plugin not in unusable:
            raise NotFound(f"No plugin is called {plugin!r}.", "`sensorium plugins` lists them.")
        if enabled and not self.config.plugin_enabled(plugin):
            where = self.config.path or "the configuration"
            raise UsageError(f"{plugin} is off by [plugins.{plugin}] of {where}.", "Take `enabled = false` out there.")
        await self.dispatcher.ledger.switch(plugin, "" if enabled else "disabled", "" if enabled else f"{DISABLED}.")
        return plugin in self.registry.usable

    async def models(self) -> list[ModelView]:
        """All models of the enabled plugins."""
        return model_views(self.registry, self.leases, self.dispatcher)

    async def tasks(self) -> list[TaskView]:
        """The tasks that plugins perform for whoever asks."""
        plugins = self.registry.usable.values()
        return [
            TaskView(plugin=plugin.name, name=name, about=about)
            for plugin in plugins
            for name, about in plugin.tasks.items()
        ]

    async def try_task(self, name: str, path: str, values: dict[str, JsonValue]) -> list[ResultView]:
        """What a task finds in a file, which is not taken in; nothing is kept."""
        plugin = self.registry.performer(name)
        if plugin is None:
            raise NotFound(f"No plugin in use performs a task {name[:100]!r}.", "`sensorium tasks` lists them.")
        file = path_of(path).name
        try:
            head = await asyncio.to_thread(_head, file)
        except OSError as error:
            raise NotFound(f"{path} cannot be read: {error.strerror}.") from error
        identity = self.registry.identify(head, os.path.basename(file))
        about = {"file": os.path.basename(file), "media_type": identity[1] if identity else ""}
        async with self._with_workers():
            found = await self.dispatcher.perform(
                plugin.name, Task(name=name, values={**values, **about}, files=(Path(file),))
            )
            provenance = self.dispatcher.provenance(plugin.name)
        return [
            ResultView(plugin=plugin.name, type=one.type, version=one.version, data=one.data, provenance=provenance)
            for one in found
        ]

    async def lease_table(self) -> LeaseTable:
        """Who computes where, what is resident and who waits."""
        counts = queue_views(await self._job_counts(), self.registry, self.dispatcher)
        facts = lease_views.Facts(self.journal, self.registry, self.dispatcher, self.leases, self.running_pid)
        return await lease_views.lease_table(facts, {queue.plugin: queue.queued for queue in counts})

    async def lease_history(self, hours: float) -> LeaseHistory:
        """What was resident and who computed in the last hours."""
        if self.history is not None:
            await self.history.settle()
        return await lease_views.lease_history(self.journal, hours)

    async def plan(self, gpus_mb: list[int] | None = None, cpu_mb: int | None = None) -> PlanView:
        """Which models fit together on GPUs of these sizes and the CPU, and what will swap; None: what is there."""
        devices = planned_devices(self.leases.devices, gpus_mb, cpu_mb, self.config.devices.gpu_reserve_mb)
        specs = {name: plugin.spec for name, plugin in self.registry.usable.items() if plugin.has_model}
        found = await asyncio.to_thread(forecast, specs, devices, self.leases.costs)
        return lease_views.plan_view(found, self.leases.costs)

    async def pause(self, paused: bool, gpu: bool = False) -> bool:
        """Stop (or go on) giving work to models, with `gpu` to those on GPUs; what arrives is still taken in.

        Returns the new state: still true where quiet hours or other programs ask for it.
        """
        if self.running_pid is None:
            raise UsageError("No host runs that could be paused.", "Start one with `sensorium run`.")
        if not gpu:
            self.leases.pause(paused)
            return self.leases.paused
        if not self.yielding.gpus:
            raise UsageError("The host uses no GPU.", "`sensorium status` shows the devices that it uses.")
        self.yielding.leave_gpus(paused)
        return any(self.leases.withdrawn(gpu) for gpu in self.yielding.gpus)

    async def unload(self, plugin: str | None = None) -> list[str]:
        """Have the models of a plugin, or all, leave memory after the batch that runs. Returns whose were resident."""
        if self.running_pid is None:
            raise UsageError("No host runs that could unload a model.", "Start one with `sensorium run`.")
        if plugin is not None and plugin not in self.registry.usable:
            raise NotFound(f"No plugin {plugin!r} is in use.", "`sensorium plugins` lists them.")
        return [name for name in self.leases.slots if plugin in (None, name) and self.leases.dismiss(name)]

    # -- events ------------------------------------------------------------------------------------------------------

    async def results(self, query: str | None = None, limit: int = 20) -> list[EventView]:
        """What was found: for a path, an event id (or its beginning), or the latest events."""
        if query is not None:
            return [await self.view(await self._find(query))]
        latest = [row["id"] for row in await self.journal.rows("latest_events", limit=limit)]
        views = await event_views(latest, self.journal, self.library)
        return [views[event_id] for event_id in latest if event_id in views]

    async def view(self, event_id: str) -> EventView:
        """Everything that is known of an event."""
        return await event_view(event_id, self.journal, self.library)

    async def why(self, query: str) -> Explanation:
        """What happened to a path or event id, and what to do."""
        facts = Facts(self.journal, self.library, self.sources, self.dispatcher, self.leases, self.running_pid)
        try:
            event_id = await self._find(query)
        except NotFound:
            event_id = None
        return await explain(query, event_id, facts)

    async def requeue(self, queries: list[str], plugin: str | None = None, done: bool = False) -> int:
        """Queue failed jobs again (with `done`, finished ones too); without queries all of them. Returns how many."""
        self._must_own()
        if plugin is not None and plugin not in self.registry.usable:
            raise NotFound(f"No plugin {plugin!r} is in use.", "`sensorium plugins` lists them.")
        events = [await self._find(query) for query in queries] if queries else [None]
        jobs = await self._jobs_to_requeue(events, plugin, ("failed", "done") if done else ("failed",))
        for name in set(jobs.values()):
            if self.dispatcher.records.of(name).off == "suspended":  # whoever asks for another try shall have it
                await self.dispatcher.ledger.switch(name, "")
        now = time.time()
        await self.journal.write(Statement("requeue_job", [{"seq": seq, "queued": now} for seq in jobs]))
        for name in set(jobs.values()):
            await self.dispatcher.take_back(name, [seq for seq, owner in jobs.items() if owner == name])
        return len(jobs)

    async def _jobs_to_requeue(
        self, events: Sequence[str | None], plugin: str | None, states: Sequence[str]
    ) -> dict[int, str]:
        """Numbers of jobs, and whose they are; jobs of plugins that are not in use stay as they are."""
        rows = [
            row
            for event in events
            for state in states
            for row in await self.journal.rows("jobs_to_requeue", event_id=event, plugin=plugin, state=state)
        ]
        return {row["seq"]: row["plugin"] for row in rows if row["plugin"] in self.registry.usable}

    async def _find(self, query: str) -> str:
        return await find_event(query, self.journal, self.sources)

    # -- search ------------------------------------------------------------------------------------------------------

    async def search(
        self,
        text: str | None = None,
        like: str | None = None,
        limit: int = 10,
        kind: Kind | None = None,
        words: bool = False,
    ) -> list[Hit]:
        """What a text finds, by its words and by what pictures show, or what is like a picture; best first.

        `kind`: only files of this kind. `words`: only by words, which asks no model.
        """
        if kind not in (None, *self.registry.kinds):
            raise UsageError(f"No kind of file is called {kind!r}.", f"Say one of: {', '.join(self.registry.kinds)}.")
        if (text is None) == (like is None) or (words and text is None):
            raise UsageError("Say what to search for: a text, or a picture with --like.")
        if text is None:
            found = await self._near(await self._picture_request(like or ""), kind, limit)
            return await self._hits.views(None, [Moment([find], find.score) for find in found])
        if words or not await self._has_pictures(kind):
            rankings = [await self._hits.with_words(text, kind, limit)]
        else:
            depth, query = max(limit, DEPTH), {"op": "query", "texts": [plain(text)]}
            rankings = [await self._hits.with_words(text, kind, depth), await self._near(query, kind, depth)]
        return await self._hits.views(text, fused(rankings)[:limit])

    # -- a question --------------------------------------------------------------------------------------------------

    async def ask(self, question: str, about: list[str]) -> AsyncGenerator[AnswerPart, None]:
        """The answer to a question from what is known, or from the files `about` alone, as it is written."""
        if not question.strip():
            raise UsageError("Say what to ask.")
        parts: asyncio.Queue[AnswerPart | None] = asyncio.Queue()

        async def work() -> None:
            try:
                answer = await self._answered(question, about, lambda text: parts.put_nowait(AnswerPart(piece=text)))
                parts.put_nowait(AnswerPart(answer=answer))
            finally:
                parts.put_nowait(None)

        working = asyncio.create_task(work(), name="ask")
        try:
            while (part := await parts.get()) is not None:
                yield part
            await working  # raises what went wrong
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _answered(self, question: str, about: list[str], each: Callable[[str], None]) -> AnswerView:
        within = None
        if about:
            events = [await self._find(one) for one in about]
            within = [row["id"] for event in events for row in await self.journal.rows("family", event_id=event)]
        async with self._with_workers():
            pictures = []
            if within is None and await self._has_pictures(None):
                pictures = await self._near({"op": "query", "texts": [plain(question)]}, None, SHOWN_PICTURES)
            return await self._asking.answer(question, await self._asking.sources(question, within, pictures), each)

    # -- clusters ----------------------------------------------------------------------------------------------------

    async def cluster(self, anew: bool = False, relabel: bool = False) -> ClusterRun:
        """Place what is new among what is alike, and name what has no name; with `anew` and `relabel` everything."""
        self._must_own()
        async with self._with_workers():
            return await self._clusters.run(anew=anew, relabel=relabel)

    async def clusters(self, name: str | None = None) -> list[ClusterView]:
        """All clusters, the largest first; or the one of that name with all of its members."""
        return await self._clusters.views(name)

    async def _has_pictures(self, kind: Kind | None) -> bool:
        """Whether anything can be found by what it shows: a model is not loaded to learn that there is nothing."""
        row = await self.journal.row("has_vectors")
        is_there = row is not None and bool(row["has_vectors"])
        return is_there and kind not in SHOWING_NOTHING and bool(self.registry.embedders())

    async def _near(self, request: dict[str, Any], kind: Kind | None, limit: int) -> list[Find]:
        embedders = self.registry.embedders()
        if not embedders:
            raise UsageError(
                "No plugin in use can compare pictures.", "`sensorium plugins` says why; `clip` is the usual one."
            )
        space, vector = await self._vector(embedders[0], request)
        return await self._hits.near(space, vector, kind, limit)

    async def _vector(self, plugin: Plugin, request: dict[str, Any]) -> tuple[str, bytes]:
        async with self._with_workers():
            found: list[Finding] = await self.dispatcher.ask(plugin.name, request)
        for finding in found:
            if finding.type == "embedding" and finding.blob is not None:
                return str(finding.data["space"]), finding.blob
        raise UsageError(f"{plugin.name} gave no vector for that.")

    async def _picture_request(self, like: str) -> dict[str, Any]:
        place = path_of(like)
        if not place.is_file:
            raise NotFound(f"There is no file {like}.")
        path = place.name
        try:
            head, (sha256, size) = await asyncio.to_thread(lambda: (_head(path), hash_of(path)))
        except OSError as error:
            raise UsageError(f"{like} cannot be read: {error.strerror}.") from error
        identity = identify(head, path)
        if identity is None or identity[0] != "image":
            raise UsageError(f"{like} is not a picture.", "--like takes pictures.")
        row = {
            "id": event_id_of("image", sha256), "kind": "image", "media_type": identity[1], "sha256": sha256,
            "size": size, "location": path, "name": os.path.basename(path), "source": "search", "origin": path,
            "tags": "[]", "metadata": "{}", "parent": None, "role": "", "moment": None, "created": time.time(),
        }  # fmt: skip
        return {"op": "run", "hook": "on_image", "events": [event_payload(row, self.library)]}


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEAD)
