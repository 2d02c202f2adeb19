"""`sensorium plugins` and `sensorium models`: what is installed, and what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from host.cli.choosing import choices
from host.cli.options import AsJson, ConfigFile, DataDir, configuration
from host.cli.output import show, show_json, state, table, text
from host.cli.service import ask
from host.views import ModelView, PluginView, RecordView

if TYPE_CHECKING:
    from rich.text import Text


# What a plugin is beside the kinds that it works on.
AS_WORDS = {"on_result": "told of results", "read_source": "brings things in"}


def plugins(config: ConfigFile = None, data: DataDir = None, as_json: AsJson = False) -> None:
    """All plugins that are installed, usable or not."""
    found = ask(configuration(config, data), lambda service: service.plugins())
    if as_json:
        show_json(found)
        return
    numbers = ("Done", "Failed", "A job", "Memory")
    headings = ("Plugin", "Version", "From", "Works on", "Model", *numbers, "State")
    grid = table(*headings, numbers=numbers, whole=["Plugin", "Version", "From"])
    for plugin in found:
        kinds = ", ".join(AS_WORDS.get(hook, hook.removeprefix("on_")) for hook in plugin.hooks if _says_what(hook))
        name, version = text((plugin.name, "bold")), text(plugin.version)
        about = (name, version, _origin(plugin), text(kinds), text(plugin.model or ""))
        grid.add_row(*about, *_record(plugin.record), _use(plugin))
    show(grid)
    for plugin in found:
        for note in plugin.record.notes if plugin.record else ():
            show(text((f"{plugin.name}: it {note}", "yellow")))


def models(
    content: Annotated[
        str | None, typer.Option("--for", metavar="CONTENT", help="Choose a model for code, maths, general …")
    ] = None,
    wish: Annotated[str | None, typer.Option("--wish", help="speed, balanced or quality.")] = None,
    fit: Annotated[str | None, typer.Option("--fit", metavar="SIZE", help="Memory of the device, as 16gb.")] = None,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """All models of the plugins in use: memory, load time, state; or which of those that plugins know to choose."""
    if content or wish or fit:
        choices(configuration(config, data), content, wish, fit, as_json=as_json)
        return
    found = ask(configuration(config, data), lambda service: service.models())
    if as_json:
        show_json(found)
        return
    numbers = ("Memory", "Loads in", "Waiting", "Stays")
    headings = ("Plugin", "Model", "Device", "State", *numbers)
    grid = table(*headings, numbers=numbers, whole=["Plugin", "Device", "State"])
    for model in found:
        grid.add_row(
            text((model.plugin, "bold")), text(model.name), text(model.device), state(model.state), _memory(model),
            "?" if model.load_seconds is None else f"{model.load_seconds:.1f} s", str(model.waiting),
            f"{model.keep_alive:g} s",
        )  # fmt: skip
    show(grid if found else text("No plugin in use has a model."))
    for model in found:
        if model.problem:
            show(text((f"{model.plugin}: {model.problem}", "red")))


def _origin(plugin: PluginView) -> Text:
    return text(plugin.distribution, *([(" (isolated)", "dim")] if plugin.isolated else []))


def _record(record: RecordView | None) -> tuple[Text, ...]:
    if record is None or not (record.done or record.failed):
        return (text(""),) * 4
    failed = text((str(record.failed), "red" if record.in_a_row else ""))
    seconds = "" if record.seconds is None else f"{record.seconds:.2f} s"
    memory = "" if record.memory_mb is None else f"{record.memory_mb:.0f} MB"
    return text(str(record.done)), failed, text(seconds), text(memory)


def _says_what(hook: str) -> bool:
    """Whether a hook is about what a plugin works on."""
    return hook.startswith("on_") or hook in AS_WORDS


def _use(plugin: PluginView) -> Text:
    if plugin.problem:
        return text((plugin.problem, "red" if plugin.enabled or plugin.off == "suspended" else "dim"))
    return text(("in use", "green")) if plugin.enabled else text(("switched off", "dim"))


def _memory(model: ModelView) -> str:
    """What its plugin declares, and, where it ever ran, what was seen."""
    declared = f"~{model.declared_mb} MB"
    return declared if model.measured_mb is None else f"{model.measured_mb:.0f} MB ({declared})"
