"""Events: settled, identified arrivals, one frozen class for each kind."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, TypeAdapter, ValidationInfo

from hooks.results import ResultData

Kind = str  # one of KINDS, or that of a class which a plugin registers
KIND_PATTERN = r"^[a-z][a-z0-9]{0,31}$"


class Result(BaseModel):
    """What a plugin found in one event."""

    model_config = ConfigDict(frozen=True)
    event_id: str
    data: ResultData


class Failure(BaseModel):
    """A verdict on one event of a batch: it cannot be worked on, and the others are not concerned."""

    model_config = ConfigDict(frozen=True)
    event_id: str
    reason: str


class Derived(BaseModel):
    """A file that a plugin made of an event, to be an event of its own: a frame of a film, its sound track.

    `path` lies in the plugin's scratch folder; the host takes a copy with the results, and removes it then. `role` says
    what it is to its parent, as "frame". `moment` is where in its parent it begins, in seconds.
    """

    model_config = ConfigDict(frozen=True)
    event_id: str
    path: Path
    name: str
    role: str
    moment: float | None = None
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


def hook_of(kind: str) -> str:
    """The name of the hook that works on events of a kind."""
    return f"on_{kind}"


class Event(BaseModel):
    """A settled, identified arrival.

    `sha256` is the hash of the content (hex), `size` its bytes, `origin` where it came from inside its `source` (a
    relative path, a topic), `name` the last part of that. `parent` is the id of the event that it was derived from,
    with that event's source and origin; `role` and `moment` are those of `Derived`.

    A subclass with a `kind` of its own, registered by `register_kinds`, adds a kind of event and its hook
    `on_<kind>`. It may have properties and methods, but no further fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hook: ClassVar[str] = ""
    kind: Kind = Field(pattern=KIND_PATTERN)
    id: str
    media_type: str
    sha256: str
    size: int
    path: Path
    name: str
    source: str
    origin: str
    tags: tuple[str, ...] = ()
    metadata: dict[str, JsonValue] = Field(default_factory=dict)
    parent: str | None = None
    role: str = ""
    moment: float | None = None
    created: datetime

    @classmethod
    def __pydantic_init_subclass__(cls, **more: Any) -> None:
        """The hook follows from the kind."""
        super().__pydantic_init_subclass__(**more)
        cls.hook = hook_of(str(cls.model_fields["kind"].default))

    def open(self) -> BinaryIO:
        """The content, from its beginning. Use this or `path`; nothing else says where the content lies."""
        return self.path.open("rb")

    def result(self, data: ResultData) -> Result:
        """Wrap a finding, to be yielded from a hook."""
        return Result(event_id=self.id, data=data)

    def failure(self, reason: str) -> Failure:
        """Wrap a verdict, to be yielded from a hook: this event cannot be worked on, for this reason."""
        return Failure(event_id=self.id, reason=reason)

    def derived(
        self, path: Path, role: str, *, name: str = "", moment: float | None = None, **metadata: Any
    ) -> Derived:
        """Hand over a file that was made of this event, to be yielded from a hook: it becomes an event of its own."""
        made = {"path": path, "name": name or path.name, "role": role, "moment": moment, "metadata": metadata}
        return Derived(event_id=self.id, **made)


class Image(Event):
    """A picture; more than one frame where the format has them."""

    kind: Literal["image"] = "image"


class Audio(Event):
    """A recording."""

    kind: Literal["audio"] = "audio"


class Video(Event):
    """A film, with or without sound."""

    kind: Literal["video"] = "video"


class Document(Event):
    """Pages: PDF, office formats."""

    kind: Literal["document"] = "document"


class Text(Event):
    """Plain text, UTF-8 unless `metadata["encoding"]` says otherwise."""

    kind: Literal["text"] = "text"


class Data(Event):
    """Structured data: JSON, JSON Lines, CSV."""

    kind: Literal["data"] = "data"


CLASSES: dict[str, type[Event]] = {
    str(cls.model_fields["kind"].default): cls for cls in (Image, Audio, Video, Document, Text, Data)
}
KINDS: tuple[str, ...] = tuple(CLASSES)


def kinds_context(classes: Iterable[type[Event]]) -> dict[str, Any]:
    """The validation context in which events of further kinds are objects of these classes."""
    return {"kinds": {str(cls.model_fields["kind"].default): cls for cls in classes}}


def _of_its_class(value: Any, info: ValidationInfo) -> Any:
    """An event as an object of its kind's class; of a kind that nobody here knows, as a plain `Event`."""
    if not isinstance(value, dict):
        return value
    kind = str(value.get("kind"))
    further = (info.context or {}).get("kinds", {})
    return (CLASSES.get(kind) or further.get(kind, Event)).model_validate(value, context=info.context)


AnyEvent = Annotated[Event, BeforeValidator(_of_its_class)]
EVENTS: TypeAdapter[list[Event]] = TypeAdapter(list[AnyEvent])
TELL = "on_result"  # the hook of sinks
FINISH = "on_finished"  # the hook for an event and all that was derived from it


class Found(BaseModel):
    """One result as the journal keeps it; `artifact` is the file that came with it, where there is one."""

    model_config = ConfigDict(frozen=True)
    plugin: str
    type: str
    version: int
    data: dict[str, JsonValue]
    artifact: Path | None = None


class Finished(BaseModel):
    """An event whose jobs are finished: what was found in it, and by plugin why something was not."""

    model_config = ConfigDict(frozen=True)
    event: AnyEvent
    found: tuple[Found, ...] = ()
    failures: dict[str, str] = Field(default_factory=dict)


class Delivery(Finished):
    """What a sink is told: something that arrived, whose jobs are finished.

    `id` is the same however often this is tried, and another one when something new was found; `attempt` counts from 1.
    """

    id: str
    attempt: int = 1


FAMILY: TypeAdapter[list[Finished]] = TypeAdapter(list[Finished])
