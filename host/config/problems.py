"""What is wrong with a configuration, as sentences for people: key, line, nearest valid name."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from host.config.lines import Place
from host.errors import ConfigError

SHOULD = {
    "bool_type": "should be true or false",
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "string_type": "should be a text in quotes",
    "path_type": "should be a path in quotes",
    "tuple_type": "should be a list in [ ]",
    "list_type": "should be a list in [ ]",
    "time_parsing": 'should be a time in quotes, as "22:00"',
    "time_type": 'should be a time in quotes, as "22:00"',
    "too_short": "should not be empty",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: where (the line is None outside a file), and what."""

    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        return self.message if self.line is None else f"line {self.line}: {self.message}"


class InvalidConfig(ConfigError):
    """A configuration with all of its `problems`, in the order of their lines."""

    def __init__(self, path: Path | None, problems: Iterable[Problem]) -> None:
        self.path = path
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        where = f"{path}, " if path else ""
        super().__init__("\n".join(f"{where}{problem}" for problem in self.problems))


def problems_of(
    error: ValidationError, root: type[BaseModel], lines: Mapping[Place, int], prefix: Place = ()
) -> list[Problem]:
    """Each complaint of pydantic about `root`, whose table stands at `prefix` in the file."""
    return [
        Problem(line_of((*prefix, *detail["loc"]), lines), _dotted((*prefix, *detail["loc"])), message)
        for detail in error.errors(include_url=False)
        if not _follows_from_others(detail)
        for message in [_sentence(detail, root, prefix)]
    ]


def line_of(place: Place, lines: Mapping[Place, int]) -> int | None:
    """The line of a key or, where it has none of its own, of what holds it."""
    while place and place not in lines:
        place = place[:-1]
    return lines.get(place)


def nearest(word: str, known: Sequence[str]) -> str:
    """The advice for a name that nobody knows."""
    close = _close(word, known)
    return f"did you mean `{close}`?" if close else f"known are {', '.join(f'`{name}`' for name in known)}."


def is_like(word: str, known: Iterable[str]) -> bool:
    """Whether a word may be one of these, misspelt."""
    return _close(word, known) is not None


def _follows_from_others(detail: ErrorDetails) -> bool:
    """Whether pydantic complains only because an earlier value was refused: a default made of it, a list then empty."""
    return detail["type"] == "default_factory_not_called" or (detail["type"] == "too_short" and bool(detail["input"]))


def _sentence(detail: ErrorDetails, root: type[BaseModel], prefix: Place) -> str:
    loc, kind, value = detail["loc"], detail["type"], detail["input"]
    key = _dotted((*prefix, *loc))
    if kind == "extra_forbidden":
        return _unknown(str(loc[-1]), root, loc[:-1], prefix)
    if kind == "missing":
        return f"`{key}` is missing."
    if kind == "tuple_type" and isinstance(value, dict):
        return f"`{key}` can be there more than once: write [[{key}]] with two brackets."
    if kind == "model_type" and isinstance(value, list):
        return f"`{key}` can be there only once: write [{key}] with one bracket."
    should = SHOULD.get(kind) or detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return f"`{key}` {should}{'' if kind == 'secret' else _not(value)}."


def _not(value: Any) -> str:
    return "" if isinstance(value, (dict, list)) else f", not {reprlib.repr(value)}"


def _unknown(word: str, root: type[BaseModel], parent: Place, prefix: Place) -> str:
    section = _section(root, parent)
    where = f"[{_dotted((*prefix, *parent))}]" if (*prefix, *parent) else "the top level"
    others = {key: name for name, other in _sections(root) if other is not section for key in _keys(other)}
    if word in others:
        return f"`{word}` is not a setting of {where}, it belongs under {others[word]}."
    here, elsewhere = _close(word, _keys(section)), _close(word, others)
    if elsewhere and not here:
        return f"`{word}` is not a setting of {where}; did you mean `{elsewhere}` under {others[elsewhere]}?"
    return f"`{word}` is not a setting of {where}; {nearest(word, _keys(section))}"


def _close(word: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, known, n=1)), None)


def _keys(section: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in section.model_fields.items()]


def _section(root: type[BaseModel], place: Place) -> type[BaseModel]:
    for part in place:
        fields = {field.alias or name: field for name, field in root.model_fields.items()}
        if part in fields:
            root = next(_models_in(fields[str(part)].annotation), root)
    return root


def _sections(root: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in root.model_fields.items():
        for section in _models_in(field.annotation):
            key = field.alias or name
            yield (f"[[{key}]]" if field.alias else f"[{key}]"), section


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)


def _dotted(place: Place) -> str:
    return ".".join(str(part) for part in place if not isinstance(part, int))
