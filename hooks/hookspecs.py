"""The whole contract: each hook is a signature and a sentence. Implementations may take fewer arguments.

Hooks of the host process must be cheap and import nothing heavy; hooks of the worker process may take their time.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable
from typing import Any

import pluggy
from pydantic import BaseModel

from hooks.catalog import KnownModel
from hooks.events import (
    Audio,
    Data,
    Delivery,
    Derived,
    Document,
    Event,
    Failure,
    Finished,
    Image,
    Kind,
    Result,
    Text,
    Video,
)
from hooks.model import Context, Device, ModelSpec
from hooks.results import Embedding, ResultData
from hooks.sources import Arrival, Source, SourceContext
from hooks.tasks import Task

API_VERSION = 1
API_MINOR = 0  # raised with each hook or argument that is added, and a line in docs/plugins/api-versions.md
PROJECT = "sensorium"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Findings = Iterable[Result | Failure | Derived]


@hookspec(firstresult=True)
def settings_class() -> type[BaseModel]:  # type: ignore[empty-body]
    """Host: the pydantic class that `[plugins.NAME]` of config.toml is validated against."""


@hookspec(firstresult=True)
def model_spec(settings: BaseModel) -> ModelSpec:  # type: ignore[empty-body]
    """Host: what the model needs; a plugin without this hook has no model and takes no lease."""


@hookspec(firstresult=True)
def register_kinds() -> list[type[Event]]:  # type: ignore[empty-body]
    """Host and worker: classes of further kinds of events; with `Track`, of kind "track", comes the hook `on_track`.

    Every plugin that works on such a kind names its class here, its own or another package's. Which contents are of it
    says `identify`.
    """


@hookspec(firstresult=True)
def identify(head: bytes, name: str) -> tuple[Kind, str] | None:
    """Host: kind and media type of a content by its first 8 KiB and its name; None to pass.

    Asked where the host does not know the content, or knows no more than that it is text, JSON or CSV.
    """


@hookspec(firstresult=True)
def voices(settings: BaseModel) -> list[str]:  # type: ignore[empty-body]
    """Host: names of voices that the plugin speaks texts with, its usual one first; for `sensorium say`."""


@hookspec(firstresult=True)
def register_sources(settings: BaseModel) -> list[Source]:  # type: ignore[empty-body]
    """Host: the places that the plugin takes things from; each is read by `read_source` in a process of its own."""


@hookspec(firstresult=True)
def read_source(  # type: ignore[empty-body]
    source: Source, settings: BaseModel, context: SourceContext
) -> Generator[Arrival, str, None]:
    """Worker: yield an `Arrival` for each new thing, and return when there is no more for now.

    `yield` returns once the host has the content and the event for good: "", or why it was refused. Only then mark the
    mail as read. What was yielded before a crash is to be yielded again: the same origin, revision and content are not
    taken twice. Called again `source.every` seconds later, and after a pause that grows when it raises.
    """


@hookspec
def register_commands(app: Any) -> None:
    """Host: add commands to the command line (`app` is a typer.Typer)."""


@hookspec(firstresult=True)
def performs(settings: BaseModel) -> Collection[str]:  # type: ignore[empty-body]
    """Host: the names of the tasks that `perform` may be asked for (see `hooks.tasks`), or each with a sentence on it.

    What `sensorium tasks try` puts to it has one file, and in its values "file", the name, and "media_type".
    """


@hookspec(firstresult=True)
def known_models(settings: BaseModel) -> list[KnownModel]:  # type: ignore[empty-body]
    """Host: the models that the plugin could run, for those who choose one; of its catalog, nothing is loaded."""


@hookspec(firstresult=True)
def load(spec: ModelSpec, device: Device, settings: BaseModel) -> Any:
    """Worker: import the heavy libraries, load the model and return it."""


@hookspec(firstresult=True)
def unload(model: Any) -> None:
    """Worker: called before the process exits; only for what must not be left to the exit."""


@hookspec(firstresult=True)
def on_image(events: list[Image], model: Any, settings: BaseModel, context: Context) -> Findings:  # type: ignore[empty-body]
    """Worker: look at pictures; yield `event.result(...)` or `event.failure(...)`."""


@hookspec(firstresult=True)
def on_audio(events: list[Audio], model: Any, settings: BaseModel, context: Context) -> Findings:  # type: ignore[empty-body]
    """Worker: listen to recordings."""


@hookspec(firstresult=True)
def on_video(events: list[Video], model: Any, settings: BaseModel, context: Context) -> Findings:  # type: ignore[empty-body]
    """Worker: watch films; yield `event.derived(...)` for files that shall go the way of any event."""


@hookspec(firstresult=True)
def on_document(events: list[Document], model: Any, settings: BaseModel, context: Context) -> Findings:  # type: ignore[empty-body]
    """Worker: read documents."""


@hookspec(firstresult=True)
def on_text(events: list[Text], model: Any, settings: BaseModel, context: Context) -> Findings:  # type: ignore[empty-body]
    """Worker: read texts."""


@hookspec(firstresult=True)
def on_data(events: list[Data], model: Any, settings: BaseModel, context: Context) -> Findings:  # type: ignore[empty-body]
    """Worker: read structured data."""


@hookspec(firstresult=True)
def on_finished(  # type: ignore[empty-body]
    event: Event, results: list[Finished], model: Any, settings: BaseModel, context: Context
) -> Findings:
    """Worker: say one thing of an event and all that was derived from it, once every job of theirs is finished.

    `results` begins with the event itself; the others follow in the order of their moments. Called again whenever
    something of it was found anew. A plugin with this hook has no other `on_…` hook.
    """


@hookspec(firstresult=True)
def on_result(delivery: Delivery, model: Any, settings: BaseModel, context: Context) -> None:
    """Worker: tell somebody of an arrival whose jobs are finished; return when they have it for good.

    Whatever it raises, it is called again with the same `delivery.id`, after a pause that grows, also by another start
    of the host; only BadInput gives the delivery up. A process of its own runs it: `load` and `unload` are its
    beginning and end, and no lease is needed, so the plugin has no model on a device.
    """


@hookspec(firstresult=True)
def embed_query(texts: list[str], model: Any, settings: BaseModel) -> list[Embedding]:  # type: ignore[empty-body]
    """Worker: vectors for search texts, in the space of the embeddings that the plugin yields for events."""


@hookspec(firstresult=True)
def perform(  # type: ignore[empty-body]
    task: Task, model: Any, settings: BaseModel, context: Context
) -> Iterable[ResultData | str]:
    """Worker: do what somebody waits for; yield pieces of text as they come, where there are any, and then results."""
