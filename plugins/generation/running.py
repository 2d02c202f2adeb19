"""A task put to a model: filled in, cut into parts where it is too long, answered, validated, asked again if need be.

fits the context ─────────────────────────────→ asked → validated
does not: parts, each asked with `part` → joined ↑  (again in parts, while they are still too long)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import Any

from pydantic import BaseModel

from plugins.generation.answers import code_in, validated
from plugins.generation.parts import parts_of
from plugins.generation.request import Answer, AnswerInvalid, Backend, ContextExceeded, OnText, Picture, Request
from plugins.generation.schema import schema_of
from plugins.generation.tasks import Generation, Task, Wording

TEXT = "text"  # the value that may be longer than the context
MARGIN = 48  # tokens of the chat's template
SMALLEST = 48  # tokens of a part below which cutting makes no sense
ROUNDS = 8
LONGEST_TOKEN = 8  # characters, on average of a text
Step = Callable[[int, int], None]  # parts that are done, of how many


class UnknownToModel(AnswerInvalid):
    """A small model that knows a few tasks was given another one."""


@dataclass(slots=True)
class Account:
    """What was asked and answered so far."""

    calls: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    seconds: float = 0.0
    parts: int = 1

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.calls += 1
        self.tokens += answer.tokens
        self.prompt_tokens += answer.prompt_tokens
        self.seconds += answer.seconds


@dataclass(slots=True)
class Runner:
    """Puts tasks to one model. `brief`: it knows the brief wordings alone. `most_parts`: of one text, else refused."""

    backend: Backend
    model: str
    brief: bool = False
    most_parts: int = 200
    account: Account = field(default_factory=Account)

    def run(
        self,
        task: Task,
        values: Mapping[str, Any],
        pictures: Sequence[Picture] = (),
        *,
        on_text: OnText | None = None,
        step: Step | None = None,
    ) -> tuple[BaseModel, Generation]:
        """The validated answer, and how it came about.

        Raises UnknownToModel, AnswerInvalid when the second try is no better, ContextExceeded for a text of too many
        parts, and whatever the backend raises.
        """
        wording = task.wording(brief=self.brief)
        if wording is None:
            raise UnknownToModel(
                f"{self.model} does not know the task {task.name!r}; it is a tiny model of a few tasks.",
                "Name a real model: `sensorium models --for … --fit …` helps to choose.",
            )
        self.account = Account()
        started = time.monotonic()
        known = {**task.values, **values}
        if isinstance(known.get(TEXT), str) and TEXT in wording.wants and not pictures:
            known[TEXT] = self._fitted(wording, known, step)
        data = self._answered(task, wording, known, tuple(pictures), on_text)
        return data, self._generation(task, time.monotonic() - started)

    def _generation(self, task: Task, seconds: float) -> Generation:
        account = self.account
        speed = account.tokens / account.seconds if account.seconds else 0.0
        return Generation(
            task=task.name, model=self.model, tokens=account.tokens, prompt_tokens=account.prompt_tokens,
            calls=account.calls, seconds=round(seconds, 3), tokens_per_second=round(speed, 1), parts=account.parts,
        )  # fmt: skip

    # -- a text that is too long -------------------------------------------------------------------------------------

    def _fitted(self, wording: Wording, values: dict[str, Any], step: Step | None) -> str:
        """The text, or what was said of its parts, so short that the question fits the context."""
        text: str = values[TEXT]
        for _ in range(ROUNDS):
            room = self._room(wording, wording.prompt, values)
            if len(text) > LONGEST_TOKEN * room * self.most_parts:  # counting would take long, and change nothing
                raise self._too_long(room)
            if self.backend.count_tokens(text) <= room:
                return text
            template = wording.part or wording.prompt
            size = self._room(wording, template, values)
            parts = self._parts(text, size)
            self.account.parts = max(self.account.parts, len(parts))
            said = [
                self._of_part(wording, template, values, part, number, parts, step) for number, part in enumerate(parts)
            ]
            shorter = "\n".join(said)
            if wording.keep:
                return shorter
            if len(shorter) >= len(text):
                raise ContextExceeded(
                    "What the model says of the parts is no shorter than the text.", "Use a larger context."
                )
            text = shorter
        raise ContextExceeded("The text cannot be made short enough.", "Use a model with a larger context.")

    def _room(self, wording: Wording, template: str, values: dict[str, Any]) -> int:
        """Tokens that a text may have in a template."""
        without = wording.filled(template, {**values, TEXT: ""})
        asked = self.backend.count_tokens(without) + self.backend.count_tokens(wording.system) + MARGIN
        room = self.backend.context - asked - min(wording.max_tokens, self.backend.context // 3)
        if room < SMALLEST:
            raise ContextExceeded(
                f"The context of {self.model}, {self.backend.context} tokens, leaves no room for a text.",
                "Choose a larger `context`.",
            )
        return min(room, wording.part_tokens or room)

    def _parts(self, text: str, size: int) -> list[str]:
        parts = []
        for part in parts_of(text, size, self.backend.count_tokens):
            parts.append(part)
            if len(parts) > self.most_parts:
                raise self._too_long(size)
        return parts

    def _too_long(self, size: int) -> ContextExceeded:
        return ContextExceeded(
            f"The text has more than {self.most_parts} parts of {size} tokens.",
            "Raise `most_parts`, choose a larger `context`, or send less.",
        )

    def _of_part(
        self,
        wording: Wording,
        template: str,
        values: dict[str, Any],
        part: str,
        number: int,
        parts: list[str],
        step: Step | None,
    ) -> str:
        asked = wording.filled(template, {**values, TEXT: part, "number": number + 1, "count": len(parts)})
        answer = self._ask(self._request(wording, asked, values, None, ()), None)
        if step:
            step(number + 1, len(parts) + 1)
        return answer.text.strip()

    # -- one question ------------------------------------------------------------------------------------------------

    def _request(
        self, wording: Wording, prompt: str, values: dict[str, Any], schema: Any, pictures: tuple[Picture, ...]
    ) -> Request:
        room = self.backend.context - self.backend.count_tokens(prompt) - MARGIN
        return Request(
            prompt=prompt, system=wording.filled(wording.system, values), pictures=pictures, schema=schema,
            max_tokens=max(1, min(wording.max_tokens, room)), temperature=wording.temperature, stop=wording.stop,
        )  # fmt: skip

    def _ask(self, request: Request, on_text: OnText | None) -> Answer:
        answer = self.backend.generate(request, on_text)
        self.account.add(answer)
        return answer

    def _answered(
        self,
        task: Task,
        wording: Wording,
        values: dict[str, Any],
        pictures: tuple[Picture, ...],
        on_text: OnText | None,
    ) -> BaseModel:
        if wording.keep and self.account.calls > 1:  # the parts were asked already, and that is all there is to say
            return task.answer.model_validate({TEXT: values[TEXT]})
        schema = schema_of(task.answer, wording.fields) if task.form == "json" else None
        request = self._request(wording, wording.filled(wording.prompt, values), values, schema, pictures)
        answer = self._ask(request, on_text)
        try:
            return _data(task, answer)
        except AnswerInvalid:
            longer = self.backend.context - answer.prompt_tokens - MARGIN
            again = changed(request, max_tokens=max(request.max_tokens, min(4 * request.max_tokens, longer)))
            if answer.finish == "stop" and request.schema is None and not request.temperature:
                again = changed(again, temperature=0.3)
        answer = self._ask(again, None)
        try:
            return _data(task, answer)
        except AnswerInvalid as error:
            cut = f" It was cut off after {answer.tokens} tokens." if answer.finish == "length" else ""
            raise AnswerInvalid(
                f"{error.message}{cut}", "Another model, or more `max_tokens`, may do better."
            ) from error


def _data(task: Task, answer: Answer) -> BaseModel:
    if task.form == "json":
        return validated(answer.text, task.answer)
    text = code_in(answer.text) if task.form == "code" else answer.text.strip()
    if not text:
        raise AnswerInvalid("The model answered nothing.")
    try:
        return task.answer.model_validate({TEXT: text})
    except ValueError as error:  # of which pydantic's is one
        raise AnswerInvalid(f"The answer is of no use: {_said(error)}") from error


def _said(error: ValueError) -> str:
    errors = getattr(error, "errors", None)
    return str(errors()[0]["msg"]) if errors else str(error)
