"""From what a model wrote to data of a known class: JSON is found in fences and prose, then validated."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from plugins.generation.request import AnswerInvalid

FENCE = re.compile(r"```[a-zA-Z0-9_-]*[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL)
SHOWN = 200
DEEPEST = 100
Class = TypeVar("Class", bound=BaseModel)


def validated(text: str, answer: type[Class]) -> Class:
    """The data that an answer holds. Raises AnswerInvalid that says what is wrong with it, and where."""
    try:
        return answer.model_validate(json_in(text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the answer"
        said = f"The model's answer does not have the form that was asked for: {where}: {first['msg']}."
        raise AnswerInvalid(said) from error


def json_in(text: str) -> Any:
    """The first JSON object or array in an answer, in a Markdown fence or not. Raises AnswerInvalid."""
    for candidate in (text, *FENCE.findall(text), _from_first_bracket(text)):
        try:
            found = _loads(candidate)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict | list):
            return found
    raise AnswerInvalid(f"The model answered no JSON, but {text.strip()[:SHOWN]!r}.")


def _loads(text: str) -> Any:
    if _depth(text) > DEEPEST:
        raise ValueError("nested too deep")
    decoder = json.JSONDecoder(strict=False, parse_constant=_refused)  # grammars let line breaks into strings
    return decoder.raw_decode(text.strip())[0]


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _depth(text: str) -> int:
    """The most brackets that are open at a time, strings left in: an upper bound."""
    depth = deepest = 0
    for character in text:
        if character in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "]}":
            depth -= 1
    return deepest


def _from_first_bracket(text: str) -> str:
    start = re.search(r"[{\[]", text)
    return text[start.start() :] if start else ""


def code_in(text: str) -> str:
    """The code in an answer: what stands in its fences, or all of it where there are none."""
    fenced = FENCE.findall(text)
    return "\n\n".join(part.strip("\n") for part in fenced) if fenced else text.strip("\n")
