"""`sensorium plan`: which models fit together on a device of a given size, and what will swap."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, configuration
from host.cli.output import lasting, show, show_json, table, text
from host.cli.service import ask
from host.config import Config
from host.errors import UsageError
from host.views import PlannedDevice, PlannedModel, PlanView

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

MB = {"mb": 1, "gb": 1024, "": 1024}
STYLES = {"stays": "green", "swaps": "yellow", "never fits": "red"}
KINDS = {"gpu": "GPU", "cpu": "CPU"}


class Profile(StrEnum):
    """Machines by the size of their GPU; `tiny` has none."""

    TINY = "tiny"
    GB6 = "6gb"
    GB16 = "16gb"
    GB32 = "32gb"


def plan(
    profile: Annotated[Profile | None, typer.Option("--profile", help="A machine of this size.")] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option("--gpu", metavar="SIZE", help="A GPU of this size, as 6gb or 8192mb; repeatable."),
    ] = None,
    cpu: Annotated[
        str | None, typer.Option("--cpu", metavar="SIZE", help="Memory for models on the CPU; else this machine's.")
    ] = None,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Which models fit together on a device of a given size, and what will swap; without a size, on this machine."""
    if profile is not None and gpu:
        raise UsageError("Both --profile and --gpu say what GPU there is.", "Use one of them.")
    gpus = [megabytes(size) for size in gpu] if gpu else _of_profile(profile)
    memory = None if cpu is None else megabytes(cpu)
    chosen = configuration(config, data)
    found = ask(chosen, lambda service: service.plan(gpus, memory))
    if as_json:
        show_json(found)
    else:
        show(page(found, chosen, planned=gpus is not None or memory is not None))


def _of_profile(profile: Profile | None) -> list[int] | None:
    if profile is None:
        return None
    return [] if profile is Profile.TINY else [megabytes(profile.value)]


def megabytes(size: str) -> int:
    """A size of memory as people write it, in MB. Raises UsageError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(mb|gb|)\s*", size.lower())
    if found is None or not 0 < (memory := float(found[1]) * MB[found[2]]) < 1e9:
        raise UsageError(f"{size!r} is no size of memory.", "Write it as 6gb or 8192mb.")
    return round(memory)


def page(found: PlanView, config: Config, *, planned: bool) -> Group:
    """The plan as a page."""
    from rich.console import Group

    title = "On such a machine" if planned else "On this machine"
    parts: list[RenderableType] = [text((title, "bold"), "; nothing is loaded for this plan.")]
    for device in found.devices:
        models = [model for model in found.models if device.name in model.devices]
        if models or device.kind == "gpu":
            parts += ["", _title(device, config), *_of_device(device, models)]
    there = {device.name for device in found.devices}
    nowhere = [model for model in found.models if there.isdisjoint(model.devices)]
    if nowhere:
        parts += ["", text(("Nowhere", "bold")), _models(nowhere)]
    if not found.models:
        parts += ["", text("No plugin in use has a model.")]
    return Group(*parts)


def _title(device: PlannedDevice, config: Config) -> Text:
    left = f", {config.devices.gpu_reserve_mb} MB left to other programs" if device.kind == "gpu" else ""
    return text((device.name, "bold"), (f" {KINDS[device.kind]}", "dim"), f"  {device.budget_mb} MB for models{left}")


def _of_device(device: PlannedDevice, models: list[PlannedModel]) -> Iterator[RenderableType]:
    if not models:
        yield text("  no model")
        return
    yield _models(models)
    groups = [" + ".join(group) for group in device.together]
    if len(groups) == 1:
        yield text(
            "  In memory together: ", ("all that fit, ", "green") if len(device.together[0]) > 1 else "", groups[0]
        )
    elif groups:
        yield text("  In memory together: ", "; or ".join(groups))
    if device.reloads:
        measured = all(model.load_seconds is not None for model in models if model.fate == "swaps")
        seconds = lasting(device.reload_seconds) if measured else "a time that is not measured yet"
        often = f"{device.reloads:.2g} models are loaded again, which takes {seconds}"
        yield text(("  With one job for each in turn, ", "dim"), often)


def _models(models: list[PlannedModel]) -> Table:
    numbers = ("Memory", "Loads in")
    grid = table("  Plugin", "Model", *numbers, "", numbers=numbers, whole=["  Plugin"])
    for model in sorted(models, key=lambda model: (list(STYLES).index(model.fate), model.plugin)):
        name = f"{model.model} as {model.variant}" if model.variant else model.model
        memory = f"{'' if model.measured else '~'}{model.memory_mb} MB"
        seconds = "?" if model.load_seconds is None else f"{model.load_seconds:.1f} s"
        grid.add_row(text("  ", (model.plugin, "bold")), text(name), memory, seconds, _fate(model))
    return grid


def _fate(model: PlannedModel) -> Text:
    more = {"stays": "", "swaps": f" with {', '.join(model.swaps_with)}", "never fits": f": {model.reason}"}
    return text((f"{model.fate}{more[model.fate]}", STYLES[model.fate]))
