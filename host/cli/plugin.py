"""`sensorium plugin`: one plugin, for those who write and manage plugins."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel

from host.cli.configuration import inspect_plugins, toml_value
from host.cli.conformance import check
from host.cli.options import AsJson, ConfigFile, configuration
from host.cli.output import pairs, plural, show, show_json, show_whole, table, text
from host.cli.schema import Setting, plugin_schema, settings_class, settings_of_class
from host.config import InvalidConfig
from host.config.models import PluginUse
from host.config.problems import nearest
from host.errors import NotFound
from host.isolation import Isolated

if TYPE_CHECKING:
    from rich.table import Table

    from hooks import ModelSpec
    from host.plugin_manager import Plugin, Unusable

app = typer.Typer(help="Look at one plugin, and check it.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The plugin's name, as `sensorium plugins` lists it.")]


@app.callback()
def _group() -> None:
    """Look at one plugin, and check it."""


app.command()(check)


@app.command(name="show")
def show_plugin(
    name: Name,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of its table in config.toml, for editors.")
    ] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """What a plugin works on, its model, and its settings with types, defaults and what they are for."""
    from host.plugin_manager import opened

    chosen = configuration(config)
    registry, problems = inspect_plugins(chosen)
    isolated = Isolated(chosen.paths.data / "plugins")
    point = entry_point(name, isolated)
    every: list[Plugin | Unusable] = [*registry.usable.values(), *registry.unusable]
    found = next(one for one in every if one.name == name)
    settings = settings_class(point, isolated, chosen.plugins.get(name, {}))
    if schema:
        show_json(plugin_schema(name, settings))
        return
    rows = list(settings_of_class(settings))
    defaults = {row.key: row.default for row in rows}
    stated = {key: value for key, value in chosen.plugin_settings(name).items() if value != defaults.get(key)}
    if as_json:
        show_json(_as_dict(found, point, rows, stated))
    else:
        module = opened(point, chosen.plugins.get(name, {}), isolated)
        _show(found, point, module, settings, rows, stated)
    wrong = [problem for problem in problems if problem.key == name or f"{problem.key}.".startswith(f"plugins.{name}.")]
    if wrong:
        raise InvalidConfig(chosen.path, wrong)


def entry_point(name: str, isolated: Isolated | None = None) -> EntryPoint:
    """The installed plugin of this name. Raises NotFound with the nearest name that there is."""
    from host.plugin_manager import entry_points

    points = {point.name: point for point in reversed(entry_points(isolated))}
    if name not in points:
        raise NotFound(f"No plugin is called {name}.", f"{nearest(name, sorted(points)).capitalize()}")
    return points[name]


def _as_dict(
    plugin: Plugin | Unusable, point: EntryPoint, rows: list[Setting], stated: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "version": plugin.version,
        "distribution": plugin.distribution,
        "module": point.value,
        "problem": getattr(plugin, "problem", ""),
        "hooks": sorted(getattr(plugin, "hooks", ())),
        "model": _model(plugin),
        "settings": [
            {
                "key": row.key,
                "type": row.type,
                "default": toml_value(row.default) if row.default is not None else None,
                "required": row.is_required,
                "description": row.description,
            }
            for row in rows
        ],
        "stated": {key: toml_value(value) for key, value in stated.items()},
    }


def _model(plugin: Plugin | Unusable) -> dict[str, Any] | None:
    spec: ModelSpec | None = getattr(plugin, "spec", None)
    return spec.model_dump(mode="json") if spec and getattr(plugin, "has_model", False) else None


def _show(
    plugin: Plugin | Unusable,
    point: EntryPoint,
    module: Any,
    settings: type[BaseModel],
    rows: list[Setting],
    stated: dict[str, Any],
) -> None:
    show(pairs(_facts(plugin, point, module)))
    show("")
    if rows:
        show_whole(text((f"[plugins.{plugin.name}]", "bold"), f"  {(settings.__doc__ or '').strip().splitlines()[0]}"))
        show(_settings(rows, stated))
    else:
        show_whole(text((f"[plugins.{plugin.name}]", "bold"), "  It has no settings of its own."))
    show("")
    show(text("Keys of the host that any plugin's table may have: ", ", ".join(PluginUse.model_fields), "."))


def _facts(plugin: Plugin | Unusable, point: EntryPoint, module: Any) -> Iterator[tuple[str, Any]]:
    from host.plugin_manager import SPOKEN

    yield "Plugin", text((plugin.name, "bold"), f" {plugin.version}, from {plugin.distribution} ({point.value})")
    if words := (getattr(module, "__doc__", None) or "").strip():
        yield "", words.splitlines()[0]
    if problem := getattr(plugin, "problem", ""):
        yield "State", text((problem, "yellow"))
    if hooks := sorted(getattr(plugin, "hooks", ())):
        yield "Hooks", ", ".join(hooks)
    yield "Hook API", f"{getattr(module, 'api', 'not stated')}; this host speaks {SPOKEN}"
    spec: ModelSpec | None = getattr(plugin, "spec", None)
    if spec and getattr(plugin, "has_model", False):
        yield "Model", _model_words(spec)


def _model_words(spec: ModelSpec) -> str:
    device = {"auto": "a GPU or the CPU", "gpu": "a GPU", "cpu": "the CPU"}.get(spec.device, spec.device)
    parts = [f"{spec.name}: ~{spec.memory_mb} MB on {device}", f"{plural(spec.batch, 'event')} a batch"]
    parts.append("never leaves" if spec.pin else f"leaves after {spec.keep_alive:g} s without work")
    if spec.variants:
        smaller = ", ".join(f"{variant.name} (~{variant.memory_mb} MB)" for variant in spec.variants)
        parts.append(f"when memory runs out: {smaller}")
    return "; ".join(parts)


def _settings(rows: list[Setting], stated: dict[str, Any]) -> Table:
    headings = ["Setting", "Type", "Default", *(["Set to"] if stated else []), "What it is for"]
    grid = table(*headings, whole=["Setting"])
    for row in rows:
        set_to = [text((toml_value(stated[row.key]), "green") if row.key in stated else "")] if stated else []
        grid.add_row(text((row.key, "bold")), text(row.type), _default(row), *set_to, text(row.description))
    return grid


def _default(row: Setting) -> Any:
    if row.is_required:
        return text(("required", "yellow"))
    return text(("not set", "dim")) if row.default is None else text(toml_value(row.default))
