"""JSON schemas for answers: made of pydantic classes, so that class and schema cannot differ.

Each property is required and nothing else is allowed, as servers with structured output want it; references are put in
place, since some converters to grammars know none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

LONGEST_IN_GRAMMAR = 16  # llama.cpp refuses grammars with many repetitions, and each makes it slower
NOISE = frozenset({"title", "default", "$defs", "description", "examples", "pattern", "format"})


def schema_of(answer: type[BaseModel], fields: Iterable[str] = ()) -> dict[str, Any]:
    """The schema of a class, or of some of its fields, as "title" or "scenes.narration", in the order given."""
    whole = answer.model_json_schema()
    return _only(_plain(whole, whole.get("$defs", {})), tuple(fields))


def _only(schema: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    if not fields:
        return schema
    if schema.get("type") == "array":
        return {**schema, "items": _only(schema["items"], fields)}
    inner: dict[str, list[str]] = {}
    for name, _, rest in (field.partition(".") for field in fields):
        inner.setdefault(name, []).extend([rest] if rest else [])
    kept = {name: _only(schema["properties"][name], tuple(rest)) for name, rest in inner.items()}
    return {**schema, "properties": kept, "required": list(kept)}


def _plain(part: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in part:
        return _plain(definitions[part["$ref"].rpartition("/")[2]], definitions)
    kept = {key: value for key, value in part.items() if key not in NOISE}
    if "prefixItems" in kept:  # a tuple of a fixed length
        items = {"type": "array", "items": kept["prefixItems"][0]}
        kept = {**items, "minItems": part["minItems"], "maxItems": part["maxItems"]}
    if isinstance(kept.get("items"), dict):
        kept["items"] = _plain(kept["items"], definitions)
    if isinstance(kept.get("additionalProperties"), dict):
        kept["additionalProperties"] = _plain(kept["additionalProperties"], definitions)
    for several in ("anyOf", "oneOf"):
        if several in kept:
            kept[several] = [_plain(one, definitions) for one in kept[several]]
    if "properties" in part:
        kept["properties"] = {name: _plain(one, definitions) for name, one in part["properties"].items()}
        kept |= {"required": list(kept["properties"]), "additionalProperties": False}
    return kept


def for_grammar(schema: Any) -> Any:
    """The same without limits that a grammar cannot carry."""
    if isinstance(schema, list):
        return [for_grammar(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    is_long = isinstance(schema.get("maxLength"), int) and schema["maxLength"] > LONGEST_IN_GRAMMAR
    return {key: for_grammar(value) for key, value in schema.items() if not (is_long and key == "maxLength")}
