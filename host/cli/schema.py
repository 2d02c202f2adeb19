"""Settings as JSON Schema, for editors, and as rows for people.

Source of the dialect: JSON Schema 2020-12, which pydantic writes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from host.config.models import Config, PluginUse
from host.errors import HostError
from host.isolation import Isolated

DIALECT = "https://json-schema.org/draft/2020-12/schema"
WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "table",
    "null": "not set",
}
FORMATS = {"path": "path", "file-path": "path", "directory-path": "path", "time": "time", "date": "date"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One key of a table: `default` is None where there is none that can be told beforehand."""

    key: str
    type: str
    default: Any
    is_required: bool
    description: str


def plugin_schema(name: str, settings: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema of `[plugins.NAME]`: the plugin's own keys and those that the host has for any plugin."""
    return {"$schema": DIALECT, **_with_uses(name, settings.model_json_schema())}


def settings_class(point: EntryPoint, isolated: Isolated | None, table: dict[str, Any]) -> type[BaseModel]:
    """The plugin's settings class, also of one that is off or cannot be used. Raises HostError."""
    from hooks.worker import plugin_manager, register
    from host.plugin_manager import opened, settings_class_of

    manager = plugin_manager()
    try:
        register(manager, opened(point, table, isolated), point.name)
        return settings_class_of(manager, point.name)
    except (Exception, SystemExit) as error:  # the plugin boundary
        raise HostError(
            f"The plugin {point.name} cannot be opened: {type(error).__name__}: {error}",
            f"`sensorium plugin check {point.name}` says more.",
        ) from error


def installed_settings(config: Config) -> dict[str, type[BaseModel]]:
    """The settings class of every installed plugin that can be opened."""
    from host.plugin_manager import entry_points

    isolated = Isolated(config.paths.data / "plugins")
    found: dict[str, type[BaseModel]] = {}
    for point in entry_points(isolated):
        with contextlib.suppress(HostError):
            found.setdefault(point.name, settings_class(point, isolated, config.plugins.get(point.name, {})))
    return found


def _with_uses(name: str, own: dict[str, Any]) -> dict[str, Any]:
    uses = PluginUse.model_json_schema()["properties"]
    return {**own, "title": f"[plugins.{name}]", "properties": {**uses, **own.get("properties", {})}}


def config_schema(plugins: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    """JSON Schema of a whole config.toml, with a table for each of these plugins; others may have any keys."""
    whole = Config.model_json_schema(by_alias=True)
    tables, definitions = {}, whole.get("$defs", {})
    for name, settings in plugins.items():
        own = settings.model_json_schema(ref_template=f"#/$defs/{name}.{{model}}")
        definitions.update({f"{name}.{key}": value for key, value in own.pop("$defs", {}).items()})
        tables[name] = _with_uses(name, own)
    whole["properties"]["plugins"] = {**whole["properties"]["plugins"], "properties": tables}
    return {"$schema": DIALECT, **whole, "$defs": definitions, "title": "config.toml"}


def settings_of_class(settings: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    """Every key of a settings class; those of a table in it follow as `table.key`."""
    schema = settings.model_json_schema()
    definitions = schema.get("$defs", {})
    for name, field in settings.model_fields.items():
        key = field.alias or name
        shape = schema["properties"][key]
        inner = _table_in(field)
        yield Setting(
            key=prefix + key,
            type="table" if inner else type_words(shape, definitions),
            default=None if inner else _default(field),
            is_required=field.is_required(),
            description=field.description or "",
        )
        if inner is not None and inner is not settings:
            yield from settings_of_class(inner, f"{prefix}{key}.")


def type_words(shape: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What may stand there, in words: `whole number from 1 to 32`, `"jpeg" or "webp"`, `list of text`."""
    if "$ref" in shape:
        return type_words(definitions.get(shape["$ref"].rpartition("/")[2], {}), definitions)
    for choices in ("anyOf", "oneOf"):
        if choices in shape:
            known = [type_words(one, definitions) for one in shape[choices] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(known))
    if "enum" in shape or "const" in shape:
        return " or ".join(_quoted(value) for value in shape.get("enum", [shape.get("const")]))
    if shape.get("type") == "array":
        items: dict[str, Any] = shape.get("items") or next(iter(shape.get("prefixItems", [])), {})
        return f"list of {type_words(items, definitions)}" if items else "list"
    word = FORMATS.get(shape.get("format", "")) or WORDS.get(shape.get("type", ""), "anything")
    return f"{word}{_limits(shape)}"


def _limits(shape: dict[str, Any]) -> str:
    low, above = shape.get("minimum"), shape.get("exclusiveMinimum")
    high, below = shape.get("maximum"), shape.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    parts = ((" from {:g} on", low), (" above {:g}", above), (" up to {:g}", high), (" below {:g}", below))
    return ",".join(words.format(value) for words, value in parts if value is not None)


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)


def _table_in(field: FieldInfo) -> type[BaseModel] | None:
    """The class of a field that is a table by itself, not a list or a choice of several."""
    choices = [field.annotation, *(part for part in get_args(field.annotation) if field.annotation is not None)]
    tables = [part for part in choices if isinstance(part, type) and issubclass(part, BaseModel)]
    others = [part for part in get_args(field.annotation) if part not in (*tables, type(None))]
    return tables[0] if len(tables) == 1 and not others else None


def _default(field: FieldInfo) -> Any:
    if field.is_required() or field.default_factory_takes_validated_data:
        return None
    return field.get_default(call_default_factory=True)
