"""`sensorium models --for … --wish … --fit …`: which model to take, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from host.cli.output import show, show_json, table, text
from host.cli.plan import megabytes
from host.config import Config
from host.errors import UsageError
from host.log import get_logger
from host.selection import SYNONYMS, WISHES, Choice, choose, contents, profile

if TYPE_CHECKING:
    from hooks import KnownModel

log = get_logger(__name__)


def choices(config: Config, content: str | None, wish: str | None, fit: str | None, *, as_json: bool) -> None:
    """Show what the rules choose: for a content and a wish, or for all of them."""
    from host.plugin_manager import find_plugins  # imports every plugin

    registry = find_plugins(
        {name: {**config.plugins.get(name, {}), "enabled": True} for name in _names(config)},
        lambda _name, found: found.model_construct(),
    )
    known = registry.known_models()
    memory = _memory(fit, config)
    found = _chosen(known, content, wish, memory)
    if as_json:
        show_json(found)
    elif content and wish:
        _explain(found[0])
    else:
        _overview(found)


def _names(config: Config) -> set[str]:
    from importlib.metadata import entry_points

    from hooks.describe import GROUP

    return {point.name for point in entry_points(group=GROUP)} | set(config.plugins)


def _memory(fit: str | None, config: Config) -> int:
    if fit is None:
        raise UsageError("--for and --wish need to know for how much memory.", "Say it as --fit 16gb.")
    return max(0, megabytes(fit) - config.devices.gpu_reserve_mb)


def _chosen(known: dict[str, list[KnownModel]], content: str | None, wish: str | None, memory: int) -> list[Choice]:
    there = contents(known)
    if content is not None and SYNONYMS.get(content, content) not in there:
        raise UsageError(f"No model has a mark for {content!r}.", f"There are marks for: {', '.join(there)}.")
    if wish is not None and wish not in WISHES:
        raise UsageError(f"{wish!r} is no wish.", f"These are: {', '.join(WISHES)}.")
    if content is None:
        return [one for one in profile(known, memory) if wish in (None, one.wish)]
    return [choose(known, content, one, memory) for one in WISHES if wish in (None, one)]


def _explain(choice: Choice) -> None:
    if choice.model is None:
        show(text((choice.reason, "red")))
    else:
        facts = f"  {choice.model.quantization}, {choice.model.size_mb} MB to fetch, licence: {choice.model.licence}"
        show(text((choice.model.name, "bold"), facts))
        show(choice.reason)
        keys = [f'{key} = "{value}"' for key, value in choice.model.settings.items()]
        _lines("In config.toml:", [f"[plugins.{choice.plugin}]", *keys])
    if choice.others:
        _lines("Better marks:", choice.others)


def _lines(title: str, lines: Iterable[str]) -> None:
    show(text(("\n" + title, "dim")))
    for line in lines:
        show(text(f"  {line}"))


def _overview(found: list[Choice]) -> None:
    grid = table("For", "Wish", "Model", "Memory", "Licence", numbers=("Memory",), whole=["For", "Wish", "Model"])
    for one in found:
        name = f"{one.model.name} {one.model.quantization}" if one.model else "none fits"
        memory = f"~{one.model.memory_mb} MB" if one.model else ""
        licence = one.model.licence if one.model else ""
        grid.add_row(text((one.content, "bold")), text(one.wish), text(name), memory, text(licence))
    show(grid)
