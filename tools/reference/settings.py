"""The page of settings: every table of config.toml, from the classes that check it."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel

from host.cli.configuration import toml_value
from host.cli.schema import settings_of_class
from host.config import Config
from host.config.models import PluginUse
from host.plugin_manager import find_plugins
from tools.reference.markdown import cell, code, table

INTRODUCTION = """# Settings

Every key of `config.toml`, its default, and what it is for. The file may be shortened to what differs, or left out.
`config.toml` in the repository has the same with longer explanations; `sensorium config check` finds mistakes with
their lines, `sensorium config show` prints what holds. Relative paths are taken from the folder of the file. A table in
double brackets may be there more than once. No secret is ever read from the file: `SENSORIUM_MQTT_USER` and
`SENSORIUM_MQTT_PASSWORD` come from the environment.
"""
PLUGINS = """## Tables of plugins

`[plugins.NAME]` holds a plugin's own keys, and these of the host:
"""


def page() -> str:
    """The whole page: the host's tables, then those of the plugins that come with it."""
    parts = [INTRODUCTION]
    for heading, section in tables():
        parts += [f"## {heading}", "", section.__doc__ or "", "", keys(section), ""]
    parts += [PLUGINS, keys(PluginUse), ""]
    for name, settings in sorted(plugins().items()):
        parts += [f"### [plugins.{name}]", "", settings.__doc__ or "", "", keys(settings), ""]
    return "\n".join(parts)


def tables() -> Iterator[tuple[str, type[BaseModel]]]:
    """Each of the host's tables as the file writes it, with its class; a list's entries have two brackets."""
    yield from _tables_in(Config, "")


def _tables_in(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in section.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner, many = _section(field.annotation)
        if inner is not None:
            yield (f"[[{key}]]" if many else f"[{key}]"), inner
            yield from _tables_in(inner, f"{key}.")


def _section(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The class of a table, and whether there may be many of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    parts = [part for part in get_args(annotation) if part not in (Ellipsis, NoneType)]
    found = parts[0] if parts and isinstance(parts[0], type) and issubclass(parts[0], BaseModel) else None
    return found, found is not None


def plugins() -> dict[str, type[BaseModel]]:
    """The settings classes of the plugins that come with the host, those included that are off unless configured."""
    found: dict[str, type[BaseModel]] = {}

    def note(name: str, settings: type[BaseModel]) -> BaseModel:
        found[name] = settings
        return settings.model_construct()

    registry = find_plugins(_everything_on(), note)
    ours = {one.name for one in (*registry.usable.values(), *registry.unusable) if one.distribution == "sensorium"}
    return {name: settings for name, settings in found.items() if name in ours}


def _everything_on() -> dict[str, dict[str, Any]]:
    names = (one.name for one in find_plugins({}, lambda _name, settings: settings.model_construct()).unusable)
    return {name: {"enabled": True} for name in names}


def keys(section: type[BaseModel]) -> str:
    """A row for each key of a table; tables in it have their own."""
    rows = [
        (code(one.key), cell(one.type), "required" if one.is_required else _default(one.default), cell(one.description))
        for one in settings_of_class(section)
        if "." not in one.key and _section(_annotation(section, one.key))[0] is None
    ]
    return table(("Key", "Type", "Default", ""), rows) if rows else "It has no keys of its own."


def _annotation(section: type[BaseModel], key: str) -> Any:
    return next(field.annotation for name, field in section.model_fields.items() if (field.alias or name) == key)


def _default(value: Any) -> str:
    return "" if value is None else code(toml_value(value))
