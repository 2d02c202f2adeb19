"""From an event to what a language model says of it. For workers only."""

from __future__ import annotations

import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hooks import Answer as SaidToQuestion
from hooks import (
    BadInput,
    ClusterEnrichment,
    Context,
    Device,
    Event,
    Failure,
    Passage,
    Result,
    ResultData,
    Task,
)
from plugins.generation.request import Backend, GenerationFailed, ServerFailed
from plugins.generation.running import Runner
from plugins.generation.tasks import Generation, TaskResult
from plugins.generation.tasks import Task as Asked
from plugins.llm import samples, storage
from plugins.llm.results import ClusterCard, StorageSaid
from plugins.llm.settings import HERE, LlmSettings

LARGEST_TEXT = 64 * 1024 * 1024
SHOWN_VALUE = 200  # characters of a value that the model sees
SHOWN_ROW = 1500
READABLE = ("text/", "application/json", "application/jsonl", "application/yaml", "application/x-subrip")
SOURCE = re.compile(r"\[(\d{1,4})\]")


def load(settings: LlmSettings, device: Device) -> Reader:
    """The model that the settings mean. Raises ModelUnavailable, OutOfMemory."""
    if settings.backend == "remote":
        from plugins.generation.remote import RemoteModel

        key = os.environ.get(settings.api_key_variable, "") if settings.api_key_variable else ""
        server = RemoteModel(
            settings.url, settings.model, key=key, context=settings.context, timeout=settings.timeout,
            structured=settings.structured, parallel=settings.parallel,
        )  # fmt: skip
        return Reader(server, settings, settings.model, parallel=settings.parallel)
    from plugins.generation.local import LocalModel

    entry = settings.entry
    path = entry.fetched_path(settings.weights, HERE)
    context = min(settings.context, entry.context)
    model = LocalModel(path, device, context=context, threads=settings.threads)
    return Reader(model, settings, entry.name, brief=entry.brief)


class Reader:
    """A loaded model and what it is asked."""

    def __init__(
        self, backend: Backend, settings: LlmSettings, name: str, *, brief: bool = False, parallel: int = 1
    ) -> None:
        self._backend = backend
        self._settings = settings
        self._name = name
        self._brief = brief
        self._parallel = parallel
        self._tasks = settings.known_tasks

    def close(self) -> None:
        """Give the model back."""
        self._backend.close()

    def read(self, events: Sequence[Event], context: Context) -> Iterator[Result | Failure]:
        """All that is asked of these events; a server answers for several at a time."""
        if self._parallel == 1 or len(events) == 1:
            for event in events:
                yield from self._read(event, context)
            return
        with ThreadPoolExecutor(self._parallel) as pool:
            for found in pool.map(lambda event: self._read(event, context), events):
                yield from found

    def _read(self, event: Event, context: Context) -> list[Result | Failure]:
        names = self._settings.tasks.get(event.role or event.kind, ())
        found: list[Result | Failure] = []
        for number, name in enumerate(names):

            def say(done: float, text: str, begun: int = number, name: str = name) -> None:
                context.progress(event, (begun + done) / len(names), f"{name}: {text}")

            try:
                values = self._values_of(event.path, event.media_type, event.name, is_data=event.kind == "data")
                data, _ = self._run(self._tasks[name], values, say)
            except ServerFailed:
                raise  # it may be there later: the host tries again
            except (BadInput, GenerationFailed) as error:
                return [event.failure(f"{name}: {error}")]
            found.append(event.result(data))
        return found

    # -- what is filled in -------------------------------------------------------------------------------------------

    def _values_of(self, path: Path, media_type: str, name: str, *, is_data: bool) -> dict[str, Any]:
        values: dict[str, Any] = {"file": name}
        if is_data:
            sample = samples.sample_of(path, media_type)
            values |= {"sample": sample, "samples": [_shown(row) for row in sample.rows[:20]]}
            values |= {"collection": re.sub(r"[\W_]+", " ", Path(name).stem).strip().lower() or "records"}
            values |= {"text": "\n".join(values["samples"])}
        else:
            values["text"] = _text_of(path)
        return values

    # -- a task ------------------------------------------------------------------------------------------------------

    def _run(
        self,
        task: Asked,
        values: Mapping[str, Any],
        say: Callable[[float, str], None] | None = None,
        on_text: Callable[[str], None] | None = None,
    ) -> tuple[ResultData, Generation]:
        runner = Runner(self._backend, self._name, brief=self._brief, most_parts=self._settings.most_parts)
        written = 0

        def told(piece: str) -> None:
            nonlocal written
            written += 1
            if say and written % 16 == 0:
                say(0.9 * min(1.0, written / max(1, task.max_tokens)), f"{written} tokens")
            if on_text:
                on_text(piece)

        def step(done: int, of: int) -> None:
            if say:
                say(done / of, f"part {done} of {of - 1}")

        data, generation = runner.run(task, {**self._settings.values, **values}, on_text=told, step=step)
        return _result(task, data, values, generation), generation

    # -- what somebody waits for -------------------------------------------------------------------------------------

    def perform(self, task: Task) -> Iterator[ResultData | str]:
        """A task of the contract, or one of ours put to a file; texts come in pieces."""
        if task.name == "enrich_cluster":
            captions = [f"- {one}" for one in _list(task.values.get("captions"))]
            card, _ = self._run(self._tasks["enrich-cluster"], {**task.values, "captions": captions})
            assert isinstance(card, ClusterCard)
            yield ClusterEnrichment.model_validate(card.model_dump(exclude={"generation"}))
        elif task.name == "question" and not task.files:
            yield from self._answer(task)
        else:
            yield from self._try(task)

    def _answer(self, task: Task) -> Iterator[ResultData | str]:
        passages = [Passage.model_validate(one) for one in _list(task.values.get("passages"))]
        sources = "\n".join(f"[{number}] {_from(one)}: {one.text}" for number, one in enumerate(passages, 1))
        values = {"question": str(task.values.get("question", "")), "text": sources}
        for said in self._pieces(self._tasks["answer"], values):
            if isinstance(said, str):
                yield said
            else:
                text = str(getattr(said, "text", ""))
                known = {number for found in SOURCE.findall(text) if 0 < (number := int(found)) <= len(passages)}
                yield SaidToQuestion(text=text, sources=tuple(sorted(known)))

    def _try(self, task: Task) -> Iterator[ResultData | str]:
        asked = self._tasks.get(task.name)
        if asked is None:
            raise BadInput(f"No task is called {task.name!r}.", f"These are: {', '.join(self._tasks)}.")
        values = dict(task.values)
        media_type, name = str(values.pop("media_type", "")), str(values.pop("file", ""))
        if task.files:
            if not media_type.startswith(READABLE):
                raise BadInput(
                    f"{name or 'The file'} is no text and no records, but {media_type or 'of no known type'}."
                )
            is_data = "samples" in asked.wants
            found = self._values_of(task.files[0], media_type, name, is_data=is_data)
            values = {**found, **values}
        yield from self._pieces(asked, values)

    def _pieces(self, asked: Asked, values: Mapping[str, Any]) -> Iterator[ResultData | str]:
        """The text while it is written, where the answer is one, then the result; what went wrong is raised here."""
        pieces: queue.SimpleQueue[str | ResultData | BaseException] = queue.SimpleQueue()

        def work() -> None:
            try:
                pieces.put(self._run(asked, values, on_text=pieces.put if asked.form == "text" else None)[0])
            except BaseException as error:  # noqa: BLE001 - carried to whoever waits
                pieces.put(error)

        worker = threading.Thread(target=work, name="generation")
        worker.start()
        try:
            while True:
                said = pieces.get()
                if isinstance(said, BaseException):
                    raise said
                yield said
                if isinstance(said, ResultData):
                    return
        finally:
            worker.join()


def _result(task: Asked, data: Any, values: Mapping[str, Any], generation: Generation) -> ResultData:
    """What is kept of a validated answer."""
    if isinstance(data, StorageSaid):
        sample = values.get("sample")
        if not isinstance(sample, samples.Sample):
            raise BadInput("This task works on records of JSON, JSON Lines, CSV or YAML.")
        schema = storage.schema_of_records(data, sample, str(values.get("collection", "")))
        return schema.model_copy(update={"generation": generation})
    if isinstance(data, ResultData):
        return data.model_copy(update={"generation": generation})
    return TaskResult(task=task.name, data=data.model_dump(mode="json"), generation=generation)


def _text_of(path: Path) -> str:
    size = path.stat().st_size
    if size > LARGEST_TEXT:
        raise BadInput(f"The text has {size >> 20} MB; {LARGEST_TEXT >> 20} are the limit.")
    text = path.read_bytes().decode("utf-8-sig", "replace")
    text = "".join(character for character in text if character.isprintable() or character in "\n\t")
    if not text.strip():
        raise BadInput("The text is empty.")
    return text


def _shown(row: Mapping[str, Any]) -> str:
    """A record as the model sees it: long values are cut."""
    import json

    cut = {key[:SHOWN_VALUE]: _cut(value) for key, value in row.items()}
    return json.dumps(cut, ensure_ascii=False)[:SHOWN_ROW].encode("utf-8", "replace").decode()


def _cut(value: Any, depth: int = 0) -> Any:
    if isinstance(value, str):
        return value[:SHOWN_VALUE]
    if isinstance(value, list):
        return [_cut(one, depth + 1) for one in value[:5]] if depth < 4 else "…"
    if isinstance(value, dict):
        return {key: _cut(one, depth + 1) for key, one in list(value.items())[:20]} if depth < 4 else "…"
    return value


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []


def _from(passage: Passage) -> str:
    if passage.start is None:
        return passage.source
    minutes, seconds = divmod(round(passage.start), 60)
    return f"{passage.source} at {minutes}:{seconds:02}"
