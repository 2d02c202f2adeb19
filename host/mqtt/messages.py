"""What the host publishes and answers over MQTT: the topics, and the documented shapes of the JSON on them.

    BASE/results/DEVICE/PLUGIN     ResultMessage    what a plugin found in one arrival (QoS 1)
    BASE/artifacts/DEVICE/PLUGIN   bytes            a file that a plugin made (QoS 1), before its result
    BASE/errors/DEVICE[/PLUGIN]    FailureMessage   a job that failed, or an arrival that was refused (QoS 1)
    BASE/progress/DEVICE/PLUGIN    ProgressMessage  long work (QoS 0)
    BASE/hosts/HOST/availability   online, offline  retained; offline is the will
    BASE/hosts/HOST/state          HostState        retained, and so are:
    BASE/hosts/HOST/inboxes/NAME   InboxView
    BASE/hosts/HOST/queues/PLUGIN  QueueView
    BASE/hosts/HOST/devices/NAME   DeviceView
    BASE/request/PLUGIN            a content, or Request; answered on the response topic of MQTT 5, else on
    BASE/response/PLUGIN           ResponseMessage
    BASE/control/HOST/ACTION       pause, resume, unload, requeue; only with `control = true`

DEVICE is who sent the content, HOST the host's name. Every name becomes one level of a topic by `level`; nothing that
a model says is ever part of a topic. Times are seconds since 1970, sizes bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticSerializationError

from host.errors import RequestCode, UsageError
from host.views import EventFacts, JobFailure, RefusalView, ResultView, Status, View

LEVEL_LIMIT = 64  # characters of one level
TOPIC_LIMIT = 65535  # bytes, by the specification
# Wildcards, the separator, control characters, and what Unicode says is no character (MQTT 5, 1.5.4 and 4.7).
_UNFIT = re.compile("[/+#\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
Action = Literal["pause", "resume", "unload", "requeue"]
ACTIONS: tuple[Action, ...] = ("pause", "resume", "unload", "requeue")
# Codes of what is no job: an arrival that was refused, a result that no message can hold.
REFUSED, UNPUBLISHABLE = "refused", "unpublishable"


def level(name: str) -> str:
    """A name as one level of a topic; one that had to be changed carries a hash, so that no two names meet."""
    fit = _UNFIT.sub("-", name).lstrip("$").strip()[:LEVEL_LIMIT]
    if fit == name:
        return fit or "unnamed"
    mark = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return f"{fit[: LEVEL_LIMIT - 7]}-{mark}"


def is_publishable(topic: str) -> bool:
    """Whether a message can be published on such a topic."""
    levels = topic.replace("/", "")
    return bool(levels) and not _UNFIT.search(levels) and len(topic.encode()) <= TOPIC_LIMIT


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one host: `base` is common to all hosts of a broker, `host` is this one's name."""

    base: str
    host: str

    def results(self, device: str, plugin: str) -> str:
        """Where the results of a plugin go."""
        return f"{self.base}/results/{level(device)}/{level(plugin)}"

    def artifacts(self, device: str, plugin: str) -> str:
        """Where the files go that a plugin makes."""
        return f"{self.base}/artifacts/{level(device)}/{level(plugin)}"

    def errors(self, device: str, plugin: str = "") -> str:
        """Where failures go; without a plugin, refusals."""
        return f"{self.base}/errors/{level(device)}" + (f"/{level(plugin)}" if plugin else "")

    def progress(self, device: str, plugin: str) -> str:
        """Where the progress of long work goes."""
        return f"{self.base}/progress/{level(device)}/{level(plugin)}"

    def of_host(self, *names: str) -> str:
        """A topic with a retained state of this host."""
        return "/".join((self.base, "hosts", level(self.host), *map(level, names)))

    @property
    def availability(self) -> str:
        """Where `online` and `offline` stand."""
        return self.of_host("availability")

    def control(self, action: str) -> str:
        """Where an action is asked for."""
        return f"{self.base}/control/{level(self.host)}/{action}"

    def request(self, plugin: str) -> str:
        """Where a plugin is asked; `+` gives the filter for all."""
        return f"{self.base}/request/{plugin}"

    def response(self, plugin: str) -> str:
        """Where a request without a response topic is answered."""
        return f"{self.base}/response/{level(plugin)}"

    def may_answer_on(self, topic: str) -> bool:
        """Whether a requester may have its answer there: not where it would be an order, a result, or the broker's."""
        foreign = not topic.startswith((f"{self.base}/", "$"))
        return is_publishable(topic) and (foreign or topic.startswith(f"{self.base}/response/"))


def to_json(view: View) -> bytes:
    """A message as it goes out; half a surrogate pair, which UTF-8 cannot hold, stays an escape."""
    try:
        return view.model_dump_json().encode()
    except PydanticSerializationError:
        return json.dumps(view.model_dump(mode="json"), separators=(",", ":")).encode()


# -- what is published -----------------------------------------------------------------------------------------------


class EventPart(View):
    """The content that a message is about, as this arrival brought it."""

    id: str
    kind: str
    media_type: str
    sha256: str
    size: int
    name: str
    source: str
    origin: str
    tags: list[str]
    metadata: dict[str, JsonValue]
    created: float


class ResultPart(View):
    """One finding; `artifact` is the topic on which its file was published, with `sha256` to tell it by."""

    type: str
    version: int
    data: JsonValue
    artifact: str | None = None
    sha256: str | None = None
    provenance: dict[str, JsonValue]


class ResultMessage(View):
    """What one plugin found in one arrival. `id` grows, and a message sent twice has it twice."""

    id: int
    host: str
    plugin: str
    event: EventPart
    results: list[ResultPart]


class FailureMessage(View):
    """Why there is no result: of one plugin, or, without event and plugin, why an arrival was refused."""

    id: int
    host: str
    source: str
    origin: str
    event: str | None = None
    plugin: str | None = None
    code: str
    message: str
    hint: str = ""
    attempts: int = 0


class ProgressMessage(View):
    """How far long work has come, from 0 to 1."""

    event: str
    plugin: str
    source: str
    origin: str
    fraction: float


class HostState(View):
    """The host at a glance; `last_result` is in ISO 8601 with its zone, `memory_mb` what resident models take."""

    paused: bool
    backlog: int
    failed: int
    refused: int
    events: int
    resident: list[str]
    memory_mb: int
    last_result: str | None


Transaction = Annotated[str, StringConstraints(max_length=256)] | int | None
TRANSACTION: TypeAdapter[Transaction] = TypeAdapter(Transaction)


class ResponseError(View):
    """Why a request has no answer."""

    code: RequestCode
    message: str
    hint: str = ""


class Answer(View):
    """One finding of an answer; a blob, as base64, is there only where the type has one."""

    type: str
    version: int
    data: JsonValue
    blob: str | None = None


class ResponseMessage(View):
    """The answer to a request: results, or an error."""

    plugin: str
    transaction: Transaction = None
    results: list[Answer] = Field(default_factory=list)
    error: ResponseError | None = None


def event_part(facts: EventFacts, source: str, origin: str) -> EventPart:
    """An event as an arrival brought it; where the host keeps the content is nobody else's business."""
    known = facts.model_dump(exclude={"path", "parent", "role", "moment", "source", "origin", "name"})
    return EventPart(**known, source=source, origin=origin, name=origin.rsplit("/", 1)[-1])


def result_part(view: ResultView, artifact: str | None, sha256: str | None) -> ResultPart:
    """A result as it is published."""
    known = view.model_dump(exclude={"plugin", "artifact"})
    return ResultPart(**known, artifact=artifact, sha256=sha256)


def failure_message(number: int, host: str, event: EventPart, failure: JobFailure) -> FailureMessage:
    """A failed job as it is published."""
    facts = failure.model_dump(include={"plugin", "code", "message", "hint", "attempts"})
    return FailureMessage(id=number, host=host, source=event.source, origin=event.origin, event=event.id, **facts)


def refusal_message(number: int, host: str, refusal: RefusalView) -> FailureMessage:
    """A refused arrival as it is published."""
    return FailureMessage(
        id=number, host=host, source=refusal.source, origin=refusal.origin, code=REFUSED, message=refusal.reason
    )


def host_state(status: Status, last_result: str | None) -> HostState:
    """The host's state from its status."""
    return HostState(
        paused=status.paused,
        backlog=status.queued,
        failed=status.failed,
        refused=status.refused,
        events=status.events,
        resident=sorted({name for device in status.devices for name in device.residents}),
        memory_mb=sum(device.used_mb for device in status.devices),
        last_result=last_result,
    )


# -- what is asked ---------------------------------------------------------------------------------------------------


def _encodable(text: str) -> str:
    text.encode()  # a UnicodeError is a ValueError: half a surrogate pair is no text
    return text


class Request(BaseModel):
    """A request in JSON, for devices whose MQTT has no correlation data; whoever has it may send the content alone."""

    model_config = ConfigDict(extra="forbid")

    transaction: Transaction = Field(description="A text or a number; the response carries it back.")
    text: Annotated[str, AfterValidator(_encodable)] | None = Field(
        default=None, description="The content, when it is text."
    )
    media: str | None = Field(default=None, description="The content in base64, when it is anything else.")
    timeout: Annotated[float, Field(gt=0, le=3600)] | None = Field(
        default=None, description="Seconds after which no answer is wanted any more."
    )
    meta: dict[str, JsonValue] = Field(
        default_factory=dict, description="What the plugin is told beside the content, as the voice to speak with."
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was understood: the content, and what its answer must carry back."""

    content: bytes
    transaction: Transaction = None
    timeout: float | None = None
    meta: dict[str, JsonValue] = field(default_factory=dict)


def read_request(payload: bytes) -> Asked:
    """A request from a payload: a JSON object with a `transaction`, else the content itself. Raises UsageError."""
    body = _json_object(payload)
    if body is None or "transaction" not in body:
        return _filled(Asked(payload))
    try:
        request = Request.model_validate(body, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else "the request"
        raise UsageError(f"{where}: {first['msg']}.", "Send transaction, text or media, timeout and meta.") from error
    if (request.text is None) == (request.media is None):
        raise UsageError("A request has either `text` or `media`.", "Send one of them.")
    content = request.text.encode() if request.text is not None else _decoded(request.media or "")
    return _filled(Asked(content, request.transaction, request.timeout, request.meta))


def transaction_of(payload: bytes) -> Transaction:
    """What a request that is not understood wants to have carried back, as far as that can be read."""
    try:
        return TRANSACTION.validate_python((_json_object(payload) or {}).get("transaction"), strict=True)
    except ValidationError:
        return None


def _filled(asked: Asked) -> Asked:
    if not asked.content:
        raise UsageError("The request is empty.", "Send the content as the payload, or as `text` or `media`.")
    return asked


def _json_object(payload: bytes) -> dict[str, Any] | None:
    if payload.lstrip()[:1] != b"{":
        return None
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _decoded(media: str) -> bytes:
    try:
        return base64.b64decode(media, validate=True)
    except ValueError as error:
        raise UsageError(f"`media` is not base64: {error}.", "Encode the bytes with base64.") from error


Short = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200)]


class Order(BaseModel):
    """What a control message may say as JSON; an empty payload, or any other text, says nothing more than its topic."""

    model_config = ConfigDict(extra="forbid")

    model: Short | None = Field(default=None, description="unload: the plugin whose model shall go; all, without it.")
    event: Short | None = Field(default=None, description="requeue: an event id; all that failed, without it.")
    plugin: Short | None = Field(default=None, description="requeue: the jobs of this plugin alone.")


def read_order(payload: bytes) -> Order:
    """An order from the payload of a control topic. Raises UsageError."""
    body = _json_object(payload)
    if body is None:
        if payload.lstrip()[:1] in (b"{", b"["):
            raise UsageError("The order is not a JSON object.", "Send an object, or nothing.")
        return Order()
    try:
        return Order.model_validate(body, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = str(first["loc"][0])
        raise UsageError(f"The order is not understood: {where}: {first['msg']}.", "See docs/mqtt.md.") from error
