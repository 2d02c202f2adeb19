"""What is asked of a generating model and what it answers, whatever runs it.

GenerationFailed       of hooks.SensoriumError
├── ContextExceeded    the request does not fit the model's context: says both numbers
├── AnswerInvalid      the model answered something that is not what was asked for
└── ServerFailed       a server is away, too slow, or answers nonsense
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from hooks import SensoriumError

OnText = Callable[[str], None]  # told of each piece of an answer while it is written
Finish = Literal["stop", "length"]


class GenerationFailed(SensoriumError):
    """A model gave no usable answer; another request may have one."""


class ContextExceeded(GenerationFailed):
    """More was asked than the model can hold at a time."""


class AnswerInvalid(GenerationFailed):
    """The answer is not of the form that was asked for."""


class ServerFailed(GenerationFailed):
    """A model behind a server cannot be had just now."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded picture; PNG and JPEG are what every backend takes."""

    content: bytes = field(repr=False)
    media_type: Literal["image/png", "image/jpeg"] = "image/png"


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    `schema`: the JSON schema that the answer shall keep to, None for plain text. `max_tokens`: of the answer.
    `temperature`: 0 always answers the same. `stop`: texts that end the answer and are left out.
    """

    prompt: str
    system: str = ""
    pictures: tuple[Picture, ...] = ()
    schema: dict[str, Any] | None = None
    max_tokens: int = 512
    temperature: float = 0.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote; `finish` is "length" where it was cut off at `max_tokens`."""

    text: str
    tokens: int
    prompt_tokens: int
    seconds: float
    finish: Finish = "stop"


class Backend(Protocol):
    """Something that answers requests. One thread at a time uses it, unless the backend says otherwise."""

    @property
    def context(self) -> int:
        """Tokens that a request and its answer may have together."""

    def generate(self, request: Request, on_text: OnText | None = None) -> Answer:
        """Answer; raises GenerationFailed, and hooks.OutOfMemory where the device is full."""

    def count_tokens(self, text: str) -> int:
        """How many tokens a text is for this model; a server that cannot tell is estimated, never too low by much."""

    def close(self) -> None:
        """Give back what it holds; it answers no more."""
