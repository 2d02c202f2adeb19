"""What the service answers: the documented shapes behind every `--json`. Times are seconds since 1970, sizes bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from hooks import Kind


class View(BaseModel):
    """Base of the shapes: unknown fields are refused, so that a client of another version fails clearly."""

    model_config = ConfigDict(extra="forbid")


class InboxView(View):
    """A watched folder. `alarm` is empty when all is well, else why it is paused and what to do."""

    name: str
    path: str
    mode: Literal["watch", "poll"]
    after: Literal["remove", "done", "keep"]
    settling: int
    taking: int
    alarm: str


class MqttView(View):
    """The broker. `alarm` is empty when all is well, else why nothing goes in or out, and what to do.

    `since` is since when `state` holds. `owed` are outcomes that the broker has not acknowledged, `taken` the messages
    that were taken in since the host started.
    """

    broker: str
    embedded: bool
    state: Literal["stopped", "connecting", "connected", "away"]
    since: float | None = None
    taken: int = 0
    owed: int = 0
    alarm: str = ""


class SourceView(View):
    """A source that a plugin reads. `taken` counts what was taken in since the host started; `alarm` as of an inbox."""

    name: str
    plugin: str
    state: Literal["reading", "resting", "failing"]
    taken: int = 0
    alarm: str = ""


class SinkView(View):
    """A plugin that is told of what is finished: how much it is owed, what was given up, why the oldest is not told."""

    name: str
    in_use: bool
    owed: int = 0
    given_up: int = 0
    alarm: str = ""


class QueueView(View):
    """The jobs of one plugin. `off`: why they wait although a host may run, empty when they do not."""

    plugin: str
    queued: int
    running: int
    done: int
    failed: int
    off: str = ""


class DeviceView(View):
    """A device: its budget in MB, who computes on it now, which models are resident, why it is withdrawn if it is.

    `others_mb`: memory that other programs hold. `note`: why models wait for it, empty when they do not.
    """

    name: str
    kind: str
    budget_mb: int
    used_mb: int
    holder: str | None
    fence: int
    residents: list[str]
    withdrawn: str = ""
    others_mb: int = 0
    note: str = ""


class FailureView(View):
    """A job that was set aside; `moment` is where in its origin a derived event begins, in seconds."""

    event: str
    plugin: str
    origin: str
    source: str
    attempts: int
    message: str
    hint: str
    at: float
    moment: float | None = None


class RefusalView(View):
    """An arrival that never became an event."""

    source: str
    origin: str
    reason: str
    at: float


class Status(View):
    """What a person wants to see at a glance.

    `running` is the host's process id, None when no host runs; `pause_reason` is empty when it is not `paused`;
    `mqtt` is None where no broker is configured.
    """

    running: int | None
    data: str
    outbox: str
    paused: bool
    pause_reason: str
    events: int
    arrivals: int
    refused: int
    queued: int
    failed: int
    owed: int
    inboxes: list[InboxView]
    mqtt: MqttView | None = None
    sources: list[SourceView] = []
    sinks: list[SinkView] = []
    queues: list[QueueView]
    devices: list[DeviceView]
    failures: list[FailureView]
    refusals: list[RefusalView]


class ResultView(View):
    """One result as sidecars and `results --json` show it; `artifact` is the path of a file made by the plugin."""

    plugin: str
    type: str
    version: int
    data: JsonValue
    artifact: str | None = None
    provenance: dict[str, JsonValue]


class JobFailure(View):
    """Why a plugin has no result for an event."""

    plugin: str
    code: str
    message: str
    hint: str = ""
    attempts: int = 0


class EventFacts(View):
    """The event of a sidecar; `path` is where its content lies now.

    A derived event has the origin of its `parent`; `role` is what it is to that, `moment` where in it, in seconds.
    """

    id: str
    kind: str
    media_type: str
    sha256: str
    size: int
    name: str
    source: str
    origin: str
    path: str
    tags: list[str]
    metadata: dict[str, JsonValue]
    parent: str | None = None
    role: str = ""
    moment: float | None = None
    created: float


class EventView(View):
    """What is known of one event: the whole of a sidecar. `pending` names plugins that are not done yet."""

    event: EventFacts
    results: list[ResultView]
    failures: list[JobFailure]
    pending: list[str] = Field(default_factory=list)


class JobExplanation(View):
    """One plugin's part in an explanation.

    `variant` is the smaller way in which the model did it, None for the model itself; `ladder` names the steps that
    were taken before because memory ran out. `held`: it waits for jobs of what was derived from the event.
    """

    plugin: str
    state: Literal["queued", "running", "done", "failed"]
    ahead: int = 0
    held: bool = False
    attempts: int = 0
    next_try: float | None = None
    progress: float | None = None
    progress_text: str = ""
    error: str = ""
    advice: str = ""
    variant: str | None = None
    ladder: list[str] = Field(default_factory=list)


Whereabouts = Literal[
    "unknown", "ignored", "refused", "settling", "taking", "queued", "running", "done", "failed", "paused"
]


class Explanation(View):
    """Why a file is where it is: sentences for people, and the facts they were made of."""

    subject: str
    state: Whereabouts
    sentences: list[str]
    rule: str = ""
    event: str | None = None
    jobs: list[JobExplanation] = Field(default_factory=list)
    holder: str | None = None


class Hit(View):
    """A search hit: something that arrived, or a moment of it; `path` is where its content lies now.

    `score` of a search for a text is 1 for what is first among words and among pictures, and falls with the places;
    with a picture it is the cosine similarity. `start` and `end` are seconds from the beginning of a recording or film,
    None for all else. `snippet` has the words that were found in brackets, empty when only a picture was found.
    `matched` names what was found: types of results as "transcript" or "caption", and "picture". `part` is the id of
    the derived event (a frame, a sound track) in which it was, None when it was in the event itself.
    """

    score: float
    path: str
    event: str
    origin: str
    source: str
    kind: str
    start: float | None = None
    end: float | None = None
    snippet: str = ""
    matched: list[str] = Field(default_factory=list)
    part: str | None = None


class ClusterMember(View):
    """Something in a cluster; `score` is the cosine similarity of its vector with the cluster's centre."""

    event: str
    origin: str
    source: str
    path: str
    score: float


class ClusterView(View):
    """What lies close together. `members`: the most typical first; all of them where one cluster was asked for.

    `label` has the fields of `hooks.ClusterLabel` (None before it is labelled), `enrichment` those of
    `hooks.ClusterEnrichment` (None where no model said any).
    """

    id: int
    name: str
    space: str
    size: int
    label: dict[str, JsonValue] | None
    enrichment: dict[str, JsonValue] | None
    provenance: dict[str, JsonValue]
    made: float
    members: list[ClusterMember]


class ClusterRun(View):
    """What a look at the clusters did, and how they stand then.

    `looked`: new vectors that were compared with what is known, of which `joined` found their place. `grouped`: vectors
    that were all grouped again, 0 when there was no need; then `made` clusters are new, `kept` were found again, `gone`
    are the names of those that were not. `labelled` names what was labelled, with so many `calls` of models. `albums`
    is their folder, empty when none are wished for.
    """

    looked: int = 0
    joined: int = 0
    grouped: int = 0
    made: int = 0
    kept: int = 0
    gone: list[str] = Field(default_factory=list)
    labelled: list[str] = Field(default_factory=list)
    calls: int = 0
    clusters: int = 0
    placed: int = 0
    noise: int = 0
    albums: str = ""
    problems: list[str] = Field(default_factory=list)


class PassageView(View):
    """Something found that was put to the model with a question; `number` is what its answer calls it, as [1].

    `start` and `end` are seconds from the beginning of a recording or film, None for all else. `cited`: whether the
    answer relies on it.
    """

    number: int
    origin: str
    source: str
    path: str
    event: str
    kind: str
    start: float | None
    end: float | None
    text: str
    cited: bool = False


class AnswerView(View):
    """What is said to a question, and from what; `problem` says why not, where nothing is.

    "nothing found": no model was asked. "no language model": what was found is in `sources`.
    """

    question: str
    state: Literal["answered", "nothing found", "no language model", "failed"]
    text: str = ""
    sources: list[PassageView] = Field(default_factory=list)
    problem: str = ""
    advice: str = ""
    provenance: dict[str, JsonValue] = Field(default_factory=dict)


class AnswerPart(View):
    """A piece of an answer's text as it is written, or, as the last one, the whole `answer`."""

    piece: str = ""
    answer: AnswerView | None = None


class Submitted(View):
    """What became of one submitted path; `reason` is set when it was refused."""

    path: str
    event: str | None
    state: Literal["accepted", "refused", "done", "failed"]
    reason: str = ""


class RecordView(View):
    """What is remembered of a plugin: jobs, seconds a job in its worker (None: none yet), memory of its worker in MB.

    `in_a_row`: failures since its last success. `notes`: what it was seen to do and should not, in sentences.
    """

    done: int
    failed: int
    in_a_row: int
    seconds: float | None
    memory_mb: float | None
    notes: list[str] = []


class PluginView(View):
    """A plugin found on this machine; `problem` says why it is not used.

    `isolated`: it has an environment of its own. `off`: "disabled" by somebody, "suspended" by the host; `problem` says
    why then, and what brings it back.
    """

    name: str
    version: str
    distribution: str
    api: str
    hooks: list[str]
    enabled: bool
    model: str | None
    problem: str = ""
    off: Literal["", "disabled", "suspended"] = ""
    isolated: bool = False
    record: RecordView | None = None


class ModelView(View):
    """A model: what its plugin declares and what was measured. Memory in MB, times in seconds."""

    plugin: str
    name: str
    device: str
    declared_mb: int
    measured_mb: float | None
    load_seconds: float | None
    state: Literal["unloaded", "loading", "ready", "busy", "unloading"]
    pid: int | None
    waiting: int
    batch: int
    keep_alive: float
    problem: str = ""


class ResidentView(View):
    """A model in a device's memory, in MB. `idle_since`: None while it works; `leaves`: None when nothing makes it."""

    plugin: str
    model: str
    state: Literal["loading", "ready", "busy", "unloading"]
    memory_mb: int
    measured: bool
    idle_since: float | None
    leaves: float | None


class WaitView(View):
    """The jobs of a plugin that wait for a device, the requests that somebody waits for, since when the oldest does."""

    plugin: str
    model: str
    jobs: int
    urgent: int
    since: float | None


class DepartureView(View):
    """A model that left a device, or could not be loaded there."""

    plugin: str
    model: str
    memory_mb: int
    at: float
    reason: str


class DeviceLeases(View):
    """A device and its lease, memory in MB. `withdrawn` says why nothing may compute there now; empty when it may.

    Of a host that does not run any more, `residents` are those that it had when it was killed.
    """

    name: str
    kind: str
    budget_mb: int
    used_mb: int
    free_mb: int
    withdrawn: str
    holder: str | None
    fence: int
    held_since: float | None
    residents: list[ResidentView]
    waiting: list[WaitView]
    left: list[DepartureView]


class LeaseTable(View):
    """Who computes where, as of `at`; without a host (`running` is None), the last that the journal knows."""

    running: int | None
    paused: bool
    pause_reason: str
    at: float
    devices: list[DeviceLeases]


class ResidencyView(View):
    """A worker's time in a device's memory; a time is None when that has not come."""

    device: str
    plugin: str
    model: str
    memory_mb: float
    loading: float
    loaded: float | None
    leaving: float | None
    gone: float | None
    reason: str


class WorkView(View):
    """A time in which a model computed, batch after batch."""

    device: str
    plugin: str
    began: float
    ended: float
    batches: int


class DeviceMoment(View):
    """What a device allowed from `at` on."""

    device: str
    kind: str
    budget_mb: float
    withdrawn: str
    at: float


class LeaseHistory(View):
    """What was resident, who computed and what the devices allowed, from `since` to `until`."""

    since: float
    until: float
    devices: list[DeviceMoment]
    residencies: list[ResidencyView]
    work: list[WorkView]


class TaskView(View):
    """A task that a plugin performs, and what it is about, in the plugin's words."""

    plugin: str
    name: str
    about: str


class PlannedModel(View):
    """What becomes of a model on the planned devices; memory in MB, measured or as declared, loading in seconds.

    `devices` are those where it is at times; of one that never fits, that for which it is.

    "stays": it is loaded once. "swaps": it leaves for those in `swaps_with` and comes back. "never fits": see `reason`.
    `variant` is the smaller one that its plugin declares, where only that fits.
    """

    plugin: str
    model: str
    variant: str
    devices: list[str]
    memory_mb: int
    measured: bool
    load_seconds: float | None
    fate: Literal["stays", "swaps", "never fits"]
    swaps_with: list[str]
    reason: str


class PlannedDevice(View):
    """A device of the plan: what its models may use, which of them are in memory together (the largest groups alone).

    With one job for each model in turn, `reloads` models a round are loaded again, which takes `reload_seconds`.
    """

    name: str
    kind: str
    budget_mb: int
    together: list[list[str]]
    reloads: float
    reload_seconds: float


class PlanView(View):
    """What would fit on devices that may not be there, by the policy that decides in earnest."""

    devices: list[PlannedDevice]
    models: list[PlannedModel]


class Spoken(View):
    """A text that was spoken into a file; `duration` in seconds, `problems` are sentences for people."""

    path: str
    plugin: str
    voice: str
    language: str
    sample_rate: int
    duration: float
    loudness: float | None
    problems: list[str]


class Check(View):
    """One line of `sensorium doctor`."""

    name: str
    ok: bool
    found: str
    advice: str = ""


class Service(Protocol):
    """What the command line, and later MQTT control and a web page, may ask of a host; each raises HostError.

    Paths are text as `names.to_text` makes it: JSON has no place for names that are not UTF-8.
    """

    async def status(self) -> Status:
        """The whole host at a glance."""

    async def results(self, query: str | None = None, limit: int = 20) -> list[EventView]:
        """What was found: for a path, an event id (or its beginning), or the latest events."""

    async def why(self, query: str) -> Explanation:
        """What happened to a path or event id, and what to do."""

    async def requeue(self, queries: list[str], plugin: str | None = None, done: bool = False) -> int:
        """Queue failed jobs again (with `done`, finished ones too); without queries all of them. Returns how many."""

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

    async def cluster(self, anew: bool = False, relabel: bool = False) -> ClusterRun:
        """Place what is new among what is alike, and name what has no name; with `anew` and `relabel` everything."""

    async def clusters(self, name: str | None = None) -> list[ClusterView]:
        """All clusters, the largest first; or the one of that name with all of its members."""

    def ask(self, question: str, about: list[str]) -> AsyncGenerator[AnswerPart, None]:
        """The answer to a question from what is known, or from the files `about` alone, as it is written."""

    async def submit(self, paths: list[str], wait: bool = False) -> list[Submitted]:
        """Take in files by copy, wherever they lie; with `wait`, return when their jobs are finished."""

    async def say(
        self, text: str, out: str, plugin: str | None = None, meta: dict[str, JsonValue] | None = None
    ) -> Spoken:
        """Speak a text into the file `out`; by the plugin that speaks what is dropped into `speak/`, or the one named.

        `meta` is how, in the plugin's words: voice, language, speed, pitch, format and so on.
        """

    async def plugins(self) -> list[PluginView]:
        """All plugins that are installed, usable or not."""

    async def switch_plugin(self, plugin: str, enabled: bool) -> bool:
        """Disable a plugin, or enable it again, for good. False: what runs now does so from its next start on."""

    async def models(self) -> list[ModelView]:
        """All models of the enabled plugins."""

    async def tasks(self) -> list[TaskView]:
        """The tasks that plugins perform for whoever asks."""

    async def try_task(self, name: str, path: str, values: dict[str, JsonValue]) -> list[ResultView]:
        """What a task finds in a file, which is not taken in; nothing is kept."""

    async def lease_table(self) -> LeaseTable:
        """Who computes where, what is resident and who waits."""

    async def lease_history(self, hours: float) -> LeaseHistory:
        """What was resident and who computed in the last hours."""

    async def plan(self, gpus_mb: list[int] | None = None, cpu_mb: int | None = None) -> PlanView:
        """Which models fit together on GPUs of these sizes and the CPU, and what will swap; None: what is there."""

    async def pause(self, paused: bool, gpu: bool = False) -> bool:
        """Stop (or go on) giving work to models, with `gpu` to those on GPUs; what arrives is still taken in.

        Returns the new state: still true where quiet hours or other programs ask for it.
        """

    async def unload(self, plugin: str | None = None) -> list[str]:
        """Have the models of a plugin, or all, leave memory after the batch that runs. Returns whose were resident."""


SERVICE_STREAMS = ("ask",)
SERVICE_METHODS = tuple(
    name
    for name in vars(Service)
    if not name.startswith("_") and callable(getattr(Service, name)) and name not in SERVICE_STREAMS
)
