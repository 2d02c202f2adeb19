"""Working stand-ins: the real interface, in memory, with no process, disk or clock behind it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncGenerator

from pydantic import JsonValue

from hooks.events import KINDS
from host.errors import NotFound, UsageError
from host.views import (
    AnswerPart,
    AnswerView,
    ClusterMember,
    ClusterRun,
    ClusterView,
    DepartureView,
    DeviceLeases,
    DeviceMoment,
    DeviceView,
    EventFacts,
    EventView,
    Explanation,
    FailureView,
    Hit,
    InboxView,
    JobExplanation,
    JobFailure,
    LeaseHistory,
    LeaseTable,
    ModelView,
    MqttView,
    PassageView,
    PlannedDevice,
    PlannedModel,
    PlanView,
    PluginView,
    QueueView,
    RefusalView,
    ResidencyView,
    ResidentView,
    ResultView,
    SinkView,
    SourceView,
    Spoken,
    Status,
    Submitted,
    TaskView,
    WaitView,
    WorkView,
)

NOW = 1_790_000_000.0


class FakeService:
    """A host that knows what it was told with `add` and `submit`; a caption is all that its plugin finds."""

    def __init__(self, data: str = "/data", outbox: str = "/outbox", running: int | None = 4711) -> None:
        self.data, self.outbox, self.running = data, outbox, running
        self.events: dict[str, EventView] = {}
        self.groups: list[ClusterView] = []
        self.refused: list[RefusalView] = []
        self.alarm = ""
        self.mqtt: MqttView | None = None
        self.more_inboxes: list[str] = []
        self.more_plugins: list[PluginView] = []
        self.sources: list[SourceView] = []
        self.sinks: list[SinkView] = []
        self.plugin = "clip"  # whose queue it is
        self.paused = False
        self.withdrawn = ""
        self.quiet = ""
        self.planned: tuple[list[int] | None, int | None] | None = None
        self.unloaded: list[str | None] = []
        self.switched: list[tuple[str, bool]] = []
        self.heard: list[Hit] = []  # moments that any search for a text finds
        self.finish = asyncio.Event()
        self.finish.set()

    def add(self, name: str, caption: str | None = "a red circle", error: str = "") -> str:
        """An event that is done (with a caption), failed (with an error) or pending (with neither)."""
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()
        facts = EventFacts(
            id=digest[:32], kind="image", media_type="image/png", sha256=digest, size=1234, name=os.path.basename(name),
            source="inbox", origin=name, path=f"{self.data}/library/{digest}.png", tags=["holiday"], metadata={},
            created=NOW,
        )  # fmt: skip
        result = ResultView(
            plugin="clip", type="caption", version=1, data={"text": caption}, provenance={"version": "0.1.0"}
        )
        failure = JobFailure(plugin="clip", code="crashed", message=error, hint="Ask for another picture.", attempts=3)
        self.events[facts.id] = EventView(
            event=facts,
            results=[result] if caption and not error else [],
            failures=[failure] if error else [],
            pending=[] if caption or error else ["clip"],
        )
        return facts.id

    def group(self, name: str, *members: str) -> None:
        """Put events into a cluster."""
        found = [self.events[member].event for member in members]
        self.groups.append(
            ClusterView(
                id=len(self.groups) + 1,
                name=name,
                space="s",
                size=len(found),
                label={"cluster_name": name, "description": "Alike.", "tags": ["red", "round"], "confidence": 0.8},
                enrichment={"hierarchy": ["shapes", name], "relationships": {"similar_to": ["rings"], "parent": ""}},
                provenance={},
                made=NOW,
                members=[
                    ClusterMember(event=one.id, origin=one.origin, source=one.source, path=one.path, score=0.9)
                    for one in found
                ],
            )
        )

    def refuse(self, origin: str, reason: str) -> None:
        self.refused.append(RefusalView(source="inbox", origin=origin, reason=reason, at=NOW))

    async def status(self) -> Status:
        events = list(self.events.values())
        failed = [(view.event, failure) for view in events for failure in view.failures]
        queued = sum(len(view.pending) for view in events)
        done = sum(bool(view.results) for view in events)
        device = DeviceView(
            name="cpu",
            kind="cpu",
            budget_mb=8000,
            used_mb=612,
            holder="clip",
            fence=3,
            residents=["clip"],
            withdrawn=self.withdrawn,
        )
        inboxes = [
            InboxView(name=name, path="/in", mode="watch", after="remove", settling=0, taking=0, alarm=self.alarm)
            for name in ("inbox", *self.more_inboxes)
        ]
        return Status(
            running=self.running, data=self.data, outbox=self.outbox,
            paused=self.paused, pause_reason=self.pause_reason,
            events=len(events), arrivals=len(events) + len(self.refused), refused=len(self.refused),
            queued=queued, failed=len(failed), owed=0, inboxes=inboxes, mqtt=self.mqtt,
            sources=self.sources, sinks=self.sinks,
            queues=[QueueView(plugin=self.plugin, queued=queued, running=0, done=done, failed=len(failed))],
            devices=[device] if self.running else [],
            failures=[
                FailureView(
                    event=event.id, plugin=failure.plugin, origin=event.origin, source=event.source,
                    attempts=failure.attempts, message=failure.message, hint=failure.hint, at=NOW,
                )
                for event, failure in failed
            ],
            refusals=self.refused,
        )  # fmt: skip

    async def results(self, query: str | None = None, limit: int = 20) -> list[EventView]:
        if query is None:
            return list(self.events.values())[::-1][:limit]
        return [self._found(query)]

    async def why(self, query: str) -> Explanation:
        try:
            view = self._found(query)
        except NotFound:
            return Explanation(subject=query, state="unknown", sentences=[f"Nothing is known of {query}."])
        for failure in view.failures:
            job = JobExplanation(
                plugin=failure.plugin, state="failed", attempts=3, error=failure.message, advice=failure.hint
            )
            sentence = f"clip failed: {failure.message}"
            return Explanation(subject=query, state="failed", sentences=[sentence], event=view.event.id, jobs=[job])
        if view.pending:
            job = JobExplanation(plugin="clip", state="queued", ahead=2)
            sentence = "It waits for clip; 2 are before it."
            return Explanation(
                subject=query, state="queued", sentences=[sentence], event=view.event.id, jobs=[job], holder="clip"
            )
        sentence = f"Done; the sidecar is {self.outbox}/{view.event.origin}.json."
        return Explanation(subject=query, state="done", sentences=[sentence], rule="inbox", event=view.event.id)

    async def requeue(self, queries: list[str], plugin: str | None = None, done: bool = False) -> int:
        if plugin not in (None, "clip"):
            raise NotFound(f"No plugin {plugin!r} is in use.", "`sensorium plugins` lists them.")
        views = [self._found(query) for query in queries] if queries else list(self.events.values())
        again = [view for view in views if view.failures or (done and view.results)]
        for view in again:
            self.events[view.event.id] = view.model_copy(update={"failures": [], "results": [], "pending": ["clip"]})
        return len(again)

    async def search(
        self,
        text: str | None = None,
        like: str | None = None,
        limit: int = 10,
        kind: str | None = None,
        words: bool = False,
    ) -> list[Hit]:
        if (text is None) == (like is None):
            raise UsageError("Say what to search for: a text, or a picture with --like.")
        if kind not in (None, *KINDS):
            raise UsageError(f"No kind of file is called {kind!r}.", f"Say one of: {', '.join(KINDS)}.")
        wanted = set(re.findall(r"\w+", text if text is not None else os.path.basename(like or "")))
        scored = [(len(wanted & _words(view)) / (len(wanted) or 1), view.event) for view in self.events.values()]
        best = sorted(scored, key=lambda pair: pair[0], reverse=True)[:limit]
        heard = [hit for hit in self.heard if text is not None and kind in (None, hit.kind)]
        return heard + [
            Hit(score=score, path=event.path, event=event.id, origin=event.origin, source=event.source, kind=event.kind)
            for score, event in best
            if score > 0 and not words and kind in (None, event.kind)
        ]

    async def cluster(self, anew: bool = False, relabel: bool = False) -> ClusterRun:
        if anew:
            return ClusterRun(grouped=30, made=1, kept=2, gone=["dogs"], labelled=["cats"], calls=1, clusters=3)
        return ClusterRun(clusters=3, placed=28, noise=2, problems=["vlm could not do label_cluster: it is away"])

    async def clusters(self, name: str | None = None) -> list[ClusterView]:
        found = [view for view in self.groups if name in (None, view.name)]
        if name is not None and not found:
            raise NotFound(f"No cluster is called {name!r}.", "`sensorium clusters` lists them.")
        return found

    async def ask(self, question: str, about: list[str]) -> AsyncGenerator[AnswerPart, None]:
        if "broken" in question:
            raise UsageError("That cannot be asked.", "Ask something else.")
        sources = [
            PassageView(
                number=number, origin=view.event.origin, source="inbox", path=view.event.path, event=view.event.id,
                kind="audio", start=751.0, end=755.0, text="we decided for blue", cited=number == 1,
            )
            for number, view in enumerate(self.events.values(), 1)
            if not about or view.event.origin in [path.rpartition("/")[2] for path in about]
        ]  # fmt: skip
        if not sources:
            answer = AnswerView(question=question, state="nothing found", problem="Nothing.", advice="Wait.")
        elif "model" in question:
            answer = AnswerView(question=question, state="no language model", sources=sources, problem="None.")
        else:
            for piece in ("It is ", "blue\x1b[2J [1]."):
                yield AnswerPart(piece=piece)
            answer = AnswerView(question=question, state="answered", text="It is blue [1].", sources=sources)
        yield AnswerPart(answer=answer)

    async def submit(self, paths: list[str], wait: bool = False) -> list[Submitted]:
        answers = []
        for path in paths:
            if not _is_file(path):
                answers.append(Submitted(path=path, event=None, state="refused", reason="It is not a file."))
                continue
            broken = "broken" in path
            event = self.add(path, error="The picture is cut off." if broken else "")
            state = ("failed" if broken else "done") if wait else "accepted"
            reason = "The picture is cut off." if broken and wait else ""
            answers.append(Submitted(path=path, event=event, state=state, reason=reason))
        if wait:
            await self.finish.wait()
        return answers

    async def say(
        self, text: str, out: str, plugin: str | None = None, meta: dict[str, object] | None = None
    ) -> Spoken:
        wishes = meta or {}
        voice, language = str(wishes.get("voice", "en-us")), str(wishes.get("language", "en"))
        return Spoken(
            path=out, plugin=plugin or "espeak", voice=voice, language=language, sample_rate=22_050,
            duration=len(text) / 10, loudness=-19.0, problems=["It whispers."] if "emotion" in wishes else [],
        )  # fmt: skip

    async def plugins(self) -> list[PluginView]:
        common = {"version": "0.1.0", "distribution": "sensorium", "api": "1"}
        return [
            PluginView(name="clip", hooks=["load", "on_image"], enabled=True, model="tiny", **common),
            PluginView(name="broken", hooks=[], enabled=True, model=None, problem="it failed to import", **common),
            PluginView(name="off", hooks=[], enabled=False, model=None, problem="switched off", **common),
            *self.more_plugins,
        ]

    async def tasks(self) -> list[TaskView]:
        return [TaskView(plugin="llm", name="summary", about="What a text says.")]

    async def try_task(self, name: str, path: str, values: dict[str, JsonValue]) -> list[ResultView]:
        data = {"text": f"{name} of {path}", "values": values}
        return [ResultView(plugin="llm", type="summary", version=1, data=data, provenance={})]

    async def models(self) -> list[ModelView]:
        return [
            ModelView(
                plugin="clip", name="tiny", device="cpu", declared_mb=600, measured_mb=512.4, load_seconds=2.25,
                state="ready", pid=4712, waiting=3, batch=32, keep_alive=300.0,
            )
        ]  # fmt: skip

    async def lease_table(self) -> LeaseTable:
        clip = ResidentView(
            plugin="clip", model="tiny", state="ready", memory_mb=612, measured=True, idle_since=NOW - 40,
            leaves=NOW + 260,
        )  # fmt: skip
        device = DeviceLeases(
            name="cpu", kind="cpu", budget_mb=8000, used_mb=612, free_mb=7388, withdrawn=self.withdrawn,
            holder="clip", fence=3, held_since=NOW - 75, residents=[clip],
            waiting=[
                WaitView(plugin="clip", model="tiny", jobs=3, urgent=1, since=NOW - 12),
                WaitView(plugin="phi", model="phi-3.5", jobs=20, urgent=0, since=NOW - 600),
            ],
            left=[DepartureView(plugin="blip", model="blip-2", memory_mb=1500, at=NOW - 60, reason="room for clip")],
        )  # fmt: skip
        return LeaseTable(
            running=self.running, paused=self.paused, pause_reason=self.pause_reason, at=NOW, devices=[device]
        )

    async def lease_history(self, hours: float) -> LeaseHistory:
        since = NOW - hours * 3600
        return LeaseHistory(
            since=since, until=NOW,
            devices=[DeviceMoment(device="cpu", kind="cpu", budget_mb=8000, withdrawn="", at=since - 60)],
            residencies=[
                ResidencyView(
                    device="cpu", plugin="clip", model="tiny", memory_mb=612, loading=NOW - 300, loaded=NOW - 290,
                    leaving=None, gone=None, reason="",
                )
            ],
            work=[WorkView(device="cpu", plugin="clip", began=NOW - 290, ended=NOW - 200, batches=4)],
        )  # fmt: skip

    async def plan(self, gpus_mb: list[int] | None = None, cpu_mb: int | None = None) -> PlanView:
        self.planned = (gpus_mb, cpu_mb)
        gpu = PlannedDevice(
            name="gpu0", kind="gpu", budget_mb=5644, together=[["blip", "clip"], ["clip", "phi"]], reloads=1.5,
            reload_seconds=18.0,
        )  # fmt: skip
        common = {"variant": "", "devices": ["gpu0"], "measured": True, "reason": ""}
        return PlanView(
            devices=[gpu],
            models=[
                PlannedModel(
                    plugin="clip", model="tiny", memory_mb=612, load_seconds=2.0, fate="stays", swaps_with=[], **common
                ),
                PlannedModel(
                    plugin="phi", model="phi-3.5", memory_mb=3500, load_seconds=12.0, fate="swaps",
                    swaps_with=["blip"], **common,
                ),
                PlannedModel(
                    plugin="giant", model="giant", memory_mb=48000, load_seconds=None, fate="never fits", swaps_with=[],
                    **{**common, "measured": False, "reason": "giant needs 48000 MB."},
                ),
            ],
        )  # fmt: skip

    @property
    def pause_reason(self) -> str:
        return self.quiet or ("`sensorium pause`" if self.paused else "")

    async def pause(self, paused: bool, gpu: bool = False) -> bool:
        if self.running is None:
            raise UsageError("No host runs that could be paused.", "Start one with `sensorium run`.")
        if gpu:
            self.withdrawn = self.quiet or ("`sensorium pause --gpu`" if paused else "")
            return bool(self.withdrawn)
        self.paused = paused or bool(self.quiet)
        return self.paused

    async def switch_plugin(self, plugin: str, enabled: bool) -> bool:
        if plugin != "clip":
            raise NotFound(f"No plugin is called {plugin!r}.", "`sensorium plugins` lists them.")
        self.switched.append((plugin, enabled))
        return True

    async def unload(self, plugin: str | None = None) -> list[str]:
        if plugin not in (None, "clip"):
            raise NotFound(f"No plugin {plugin!r} is in use.", "`sensorium plugins` lists them.")
        self.unloaded.append(plugin)
        return ["clip"]

    def _found(self, query: str) -> EventView:
        for view in self.events.values():
            if view.event.id.startswith(query) or query.endswith(view.event.origin):
                return view
        raise NotFound(f"Nothing is known of {query}.", "Name a file in an inbox, a submitted file, or an event id.")


def _words(view: EventView) -> set[str]:
    said = " ".join(str(result.data["text"]) for result in view.results if isinstance(result.data, dict))
    return set(re.findall(r"\w+", f"{said} {view.event.name}"))


def _is_file(path: str) -> bool:
    return os.path.isfile(path)
