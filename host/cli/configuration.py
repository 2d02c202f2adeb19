"""`sensorium config`: what holds, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from pydantic import BaseModel

from host.cli.options import AsJson, ConfigFile, DataDir, configuration
from host.cli.output import plural, show_json, show_whole, text
from host.cli.schema import config_schema, installed_settings
from host.config import Config, InvalidConfig, Problem, check_plugin_names, check_plugin_settings

if TYPE_CHECKING:
    from host.plugin_manager import PluginRegistry

app = typer.Typer(help="Show and check the configuration.", no_args_is_help=True)


@app.command()
def check(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Find every mistake in the configuration, with its line."""
    try:
        chosen = configuration(config)
        _, problems = inspect_plugins(chosen)
        if problems:
            raise InvalidConfig(chosen.path, problems)
    except InvalidConfig as error:
        if as_json:
            found = [{"line": one.line, "key": one.key, "message": one.message} for one in error.problems]
            show_json({"path": str(error.path) if error.path else None, "valid": False, "problems": found})
        raise
    if as_json:
        show_json({"path": str(chosen.path) if chosen.path else None, "valid": True, "problems": []})
        return
    where = str(chosen.path) if chosen.path else "No configuration file; the defaults"
    inboxes = plural(len(chosen.inboxes), "inbox").replace("xs", "xes")
    show_whole(text(where, ": ", ("valid", "green"), f", {inboxes}, {plural(len(chosen.routes), 'route')}."))


@app.command(name="show")
def show_config(config: ConfigFile = None, data: DataDir = None, as_json: AsJson = False) -> None:
    """Print what holds, the defaults included."""
    chosen = configuration(config, data)
    if as_json:
        show_json(chosen.model_dump(mode="json", by_alias=True))
        return
    for line in _toml(chosen):
        show_whole(text(line))


@app.command()
def schema(config: ConfigFile = None) -> None:
    """Print JSON Schema of the whole configuration, the installed plugins' tables included, for editors."""
    show_json(config_schema(installed_settings(configuration(config))))


def inspect_plugins(config: Config) -> tuple[PluginRegistry, list[Problem]]:
    """The installed plugins, and what is wrong with their settings."""
    from host.isolation import Isolated
    from host.plugin_manager import find_plugins  # imports every plugin

    problems: list[Problem] = []

    def collect(name: str, settings_class: type[BaseModel]) -> BaseModel:
        try:
            return check_plugin_settings(config, name, settings_class)
        except InvalidConfig as error:
            problems.extend(error.problems)
            return settings_class.model_construct()

    registry = find_plugins(config.plugins, collect, isolated=Isolated(config.paths.data / "plugins"))
    try:
        check_plugin_names(config, [*registry.usable, *(one.name for one in registry.unusable)], registry.kinds)
    except InvalidConfig as error:
        problems.extend(error.problems)
    return registry, problems


def _toml(config: Config) -> Iterator[str]:
    yield f"# {config.path or 'no configuration file: the defaults'}"
    for name, field in type(config).model_fields.items():
        key, value = field.alias or name, getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _section(f"[{key}]", value.model_dump())
        elif isinstance(value, dict):
            for plugin, settings in value.items():
                yield from _section(f"[{key}.{_word(plugin)}]", settings)
        else:
            for item in value:
                yield from _section(f"[[{key}]]", item.model_dump())


def _section(heading: str, settings: dict[str, Any]) -> Iterator[str]:
    yield ""
    yield heading
    for key, value in settings.items():
        yield f"#{_word(key)} =" if value is None else f"{_word(key)} = {toml_value(value)}"


def _word(key: str) -> str:
    return key if key.replace("-", "_").isidentifier() else toml_value(key)


def toml_value(value: Any) -> str:
    """A value as the configuration writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_word(key)} = {toml_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False, default=str)
