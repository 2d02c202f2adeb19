"""Language models: what was heard, read or sent is summarised, structured, answered, translated.

Which tasks are put to which events is set; a task is a TOML file. What a model says is data, and is checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel

from hooks import (
    Context,
    Data,
    Device,
    Failure,
    KnownModel,
    ModelSpec,
    ModelUnavailable,
    Result,
    ResultData,
    Task,
    Text,
    Variant,
    hookimpl,
)
from plugins.llm.settings import HERE, LlmSettings, catalog

if TYPE_CHECKING:
    from plugins.llm.reading import Reader

api = ">=1,<2"
optional = True  # the bundled model shows that it works; a useful one has to be named
reads = ("transcript", "document")  # types of results whose text it takes
SMALLEST_CONTEXT = 1024
STATED_CONTEXT = 4096  # for which the memory of known models is told
LOAD_LIMIT, FETCH_LIMIT = 900, 7200


@hookimpl
def settings_class() -> type[BaseModel]:
    return LlmSettings


@hookimpl
def model_spec(settings: LlmSettings) -> ModelSpec:
    if settings.backend == "remote":
        limit = 4 * settings.timeout + 60
        return ModelSpec(
            name=f"llm/{settings.model}", device="none", memory_mb=120, batch=settings.parallel,
            keep_alive=settings.keep_alive, time_limit=limit, imports=("plugins.llm.reading",),
        )  # fmt: skip
    entry, weights = settings.entry, settings.weights
    path = entry.local_path(weights, HERE)
    return ModelSpec(
        name=f"llm/{entry.name}",
        memory_mb=entry.memory_mb(weights, settings.context),
        batch=16 if entry.brief else 1,  # an answer of the small one takes milliseconds
        keep_alive=settings.keep_alive,
        time_limit=900,  # without a step forward: a step is some tokens
        load_time_limit=LOAD_LIMIT if path else FETCH_LIMIT,  # the hub may have to send the weights first
        files=(path,) if path else (),
        imports=("plugins.llm.reading",),
        variants=tuple(_smaller(settings)),
    )


def _smaller(settings: LlmSettings) -> Iterator[Variant]:
    entry, weights = settings.entry, settings.weights
    half = min(settings.context, entry.context) // 2
    if half >= SMALLEST_CONTEXT:
        yield Variant(name=f"context {half}", memory_mb=entry.memory_mb(weights, half), settings={"context": half})
    yield Variant(name="on the CPU", memory_mb=entry.memory_mb(weights, settings.context), device="cpu")


@hookimpl
def known_models() -> list[KnownModel]:
    return [known for entry in catalog().values() if entry.good_for for known in entry.known("model", STATED_CONTEXT)]


@hookimpl
def load(device: Device, settings: LlmSettings) -> Reader:
    try:
        from plugins.llm import reading
    except ImportError as error:
        raise ModelUnavailable(
            f"The plugin llm needs the Python package {error.name}.", "Install it: pip install 'sensorium[llm]'."
        ) from error
    return reading.load(settings, device)


@hookimpl
def unload(model: Reader) -> None:
    model.close()


@hookimpl
def on_text(events: list[Text], model: Reader, context: Context) -> Iterator[Result | Failure]:
    return model.read(events, context)


@hookimpl
def on_data(events: list[Data], model: Reader, context: Context) -> Iterator[Result | Failure]:
    return model.read(events, context)


@hookimpl
def performs(settings: LlmSettings) -> Mapping[str, str]:
    ours = {name: task.about for name, task in settings.known_tasks.items()}
    return {"enrich_cluster": ours.pop("enrich-cluster"), **ours}


@hookimpl
def perform(task: Task, model: Reader) -> Iterator[ResultData | str]:
    return model.perform(task)
