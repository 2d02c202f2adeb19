"""Tasks as data: a TOML file says what a model is asked, on which events, and of which class its answer is.

The class of the answer is the one source of its JSON schema. A task of somebody's own needs no class: its `fields`
are made one. What a wording leaves open, as `{text}`, is filled in once: marks within what is filled in stay as they
are.
"""

from __future__ import annotations

import functools
import importlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, create_model, model_validator

from hooks import ResultData, SensoriumError

MARK = re.compile(r"\{([a-z_]+)\}")
SIMPLE: dict[str, Any] = {"text": str, "number": float, "integer": int, "yes or no": bool}
OWN = "task"
Form = Literal["json", "text", "code"]


class TaskError(SensoriumError):
    """A task's file cannot be used."""


class Wording(BaseModel):
    """How a task is put to a model. `part`: what is asked of each part of a text that is longer than the context.

    `limits`: how many items of a list are filled in. `keep`: whether what is said of the parts is put together as it
    is, a line each, and not asked about once more. `part_tokens`: of a part at most, where its answer is about as long.
    `fields`: those of the answer that are asked for, as "title" or "scenes.narration"; none for all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field(min_length=1)
    system: str = ""
    part: str = ""
    part_tokens: int | None = Field(default=None, ge=1)
    keep: bool = False
    limits: dict[str, int] = Field(default_factory=dict)
    fields: tuple[str, ...] = ()
    max_tokens: int = Field(default=512, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=2)
    stop: tuple[str, ...] = ()

    @property
    def wants(self) -> frozenset[str]:
        """The names of what it leaves open."""
        return frozenset(MARK.findall(self.prompt + self.system))

    def filled(self, template: str, values: Mapping[str, Any]) -> str:
        """A template of this wording with values in place; a list becomes lines."""
        return MARK.sub(lambda mark: self._shown(mark[1], values) if mark[1] in values else mark[0], template)

    def _shown(self, name: str, values: Mapping[str, Any]) -> str:
        value = values[name]
        if isinstance(value, str):
            return value
        if isinstance(value, Sequence):
            return "\n".join(str(one) for one in value[: self.limits.get(name)])
        return str(value)


class Task(Wording):
    """One task. `on`: kinds of events, or types of results whose text it takes, as "transcript"; none: only by name.

    `values`: what is filled in unless somebody says otherwise. `brief`: the wording for a small model that knows
    nothing but what it was trained for. `prefers`: the family of models that is best at it.
    """

    name: str = Field(pattern="^[a-z][a-z0-9-]{0,40}$")
    about: str = Field(min_length=1)
    on: tuple[str, ...] = ()
    form: Form = "json"
    result: str = ""
    own: dict[str, str] = Field(default_factory=dict)
    values: dict[str, JsonValue] = Field(default_factory=dict)
    brief: Wording | None = None
    prefers: str = ""

    @model_validator(mode="after")
    def _has_one_kind_of_answer(self) -> Self:
        if bool(self.result) == bool(self.own):
            raise ValueError("a task needs either a `result` class or a table `own` of fields")
        return self

    def wording(self, *, brief: bool) -> Wording | None:
        """How it is put to a model; None where a small one does not know it."""
        return self.brief if brief else self

    @functools.cached_property
    def answer(self) -> type[BaseModel]:
        """The class of what the model answers."""
        if self.own:
            return create_model("Own", **{name: (_type_of(said), ...) for name, said in self.own.items()})  # type: ignore[call-overload, no-any-return]
        module, _, name = self.result.partition(":")
        found: type[BaseModel] = getattr(importlib.import_module(module), name)
        return found


class Generation(BaseModel):
    """How an answer came about; `tokens` are those of all answers together, `calls` how often the model was asked."""

    model_config = ConfigDict(frozen=True)

    task: str
    model: str
    tokens: int
    prompt_tokens: int
    calls: int
    seconds: float
    tokens_per_second: float
    parts: int = 1


class TaskResult(ResultData):
    """The answer to a task of somebody's own: `data` has the fields that its file names."""

    type = OWN
    task: str
    data: dict[str, JsonValue]
    generation: Generation | None = None


def _type_of(said: str) -> Any:
    """The type that a word of `own` means, as "list of text" or "red | green". Raises TaskError."""
    said = said.strip()
    if said.startswith("list of "):
        return list[_type_of(said.removeprefix("list of "))]  # type: ignore[misc]
    if "|" in said:
        return Literal[tuple(choice.strip() for choice in said.split("|"))]  # type: ignore[misc]
    if said in SIMPLE:
        return SIMPLE[said]
    raise TaskError(f"{said!r} is no type of an answer.", f"These are: {', '.join(SIMPLE)}, list of …, and a | b | c.")


def read_task(path: Path) -> Task:
    """A task's file. Raises TaskError that names the file and the place."""
    try:
        return Task.model_validate({"name": path.stem, **tomllib.loads(path.read_text(encoding="utf-8"))})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TaskError(f"The task {path} cannot be read: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise TaskError(f"The task {path} is wrong: {where or 'the file'}: {first['msg']}.") from error


def tasks_in(*folders: Path) -> dict[str, Task]:
    """The tasks of folders by name; a later folder's take the place of an earlier one's. Raises TaskError."""
    found: dict[str, Task] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            task = read_task(path)
            found[task.name] = task
    return found
