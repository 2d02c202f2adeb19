"""`sensorium leases`: who computes where, what is resident, who waits; and the same of the last hours as a picture."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, configuration
from host.cli.output import ago, console, joined, lasting, plural, show, show_json, show_whole, state, table, text
from host.cli.service import ask, open_service
from host.config import Config
from host.views import DeviceLeases, LeaseTable, ResidentView, WaitView

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

EVERY = 1.0  # seconds between two looks
BAR = 24
KINDS = {"gpu": "GPU", "cpu": "CPU", "none": "without a model"}


def leases(
    once: Annotated[bool, typer.Option("--once", help="Show it once, also on a terminal.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the last hours instead: a .png, .svg or .pdf file."),
    ] = None,
    hours: Annotated[float, typer.Option("--hours", min=0.01, help="How many hours to draw.")] = 6.0,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Devices with their memory, who computes, what is resident, who waits; on a terminal until Ctrl-C."""
    chosen = configuration(config, data)
    if plot is not None:
        _plot(chosen, plot, hours, as_json)
    elif as_json:
        show_json(ask(chosen, lambda service: service.lease_table()))
    elif once or not sys.stdout.isatty():
        show(page(ask(chosen, lambda service: service.lease_table())))
    else:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_live(chosen))


def _plot(config: Config, target: Path, hours: float, as_json: bool) -> None:
    from host.cli.timeline import draw

    history = ask(config, lambda service: service.lease_history(hours))
    draw(history, target)
    if as_json:
        show_json(history)
    else:
        show_whole(text(f"Drawn: {target}"))


async def _live(config: Config) -> None:
    """The table again and again, whether or not a host runs: it may start and end meanwhile."""
    from rich.live import Live

    with Live(console=console(), screen=True, auto_refresh=False) as live:
        while True:
            async with open_service(config, writes=False) as service:
                found = await service.lease_table()
            live.update(page(found), refresh=True)
            await asyncio.sleep(EVERY)


def page(found: LeaseTable) -> Group:
    """The table of all devices that have, or had, anything to do."""
    from rich.console import Group

    parts: list[RenderableType] = [_headline(found)]
    for device in found.devices:
        parts += ["", _device_line(device, found.at)]
        if device.residents or device.waiting:
            parts.append(_models(device, found.at))
        parts += [_left(device)] if device.left else []
    return Group(*parts)


def _headline(found: LeaseTable) -> Text:
    if found.running is None:
        return text(("No host runs here", "bold yellow"), f"; last known, {ago(found.at)}")
    if found.paused:
        return text((f"Paused (process {found.running}), {found.pause_reason}", "bold yellow"))
    return text((f"Running (process {found.running})", "bold green"))


def _device_line(device: DeviceLeases, now: float) -> Text:
    share = min(1.0, device.used_mb / device.budget_mb) if device.budget_mb else 0.0
    full = round(share * BAR)
    bar = text(("█" * full, "cyan"), ("░" * (BAR - full), "dim"))
    memory = f"{device.used_mb} of {device.budget_mb} MB, {device.free_mb} free"
    pieces = [text((device.name, "bold"), (f" {KINDS.get(device.kind, device.kind)}", "dim")), bar, text(memory)]
    return text("  ").join([*pieces, _holder(device, now)])


def _holder(device: DeviceLeases, now: float) -> Text:
    if device.withdrawn:
        return text((f"withdrawn: {device.withdrawn}", "yellow"))
    if device.holder is None or device.held_since is None:
        return text(("nobody has the lease", "dim"))
    since = f" (number {device.fence}, for {lasting(now - device.held_since)})"
    return text(("lease ", "dim"), device.holder, (since, "dim"))


def _models(device: DeviceLeases, now: float) -> Table:
    """A line for each plugin that is resident or waits."""
    numbers = ("Memory", "Idle", "Leaves in", "Waiting", "Longest")
    grid = table("  Plugin", "Model", "State", *numbers, numbers=numbers, whole=["  Plugin", "State"])
    waiting = {wait.plugin: wait for wait in device.waiting}
    for resident in device.residents:
        grid.add_row(*_resident_cells(resident, now), *_wait_cells(waiting.pop(resident.plugin, None), now))
    for wait in waiting.values():
        cells = (text(f"  {wait.plugin}"), text(wait.model), state("queued"), "", "", "")
        grid.add_row(*cells, *_wait_cells(wait, now))
    return grid


def _resident_cells(resident: ResidentView, now: float) -> tuple[Text | str, ...]:
    memory = f"{'' if resident.measured else '~'}{resident.memory_mb} MB"
    idle = "" if resident.idle_since is None else lasting(now - resident.idle_since)
    stays = "stays" if resident.state == "ready" else ""
    leaves = stays if resident.leaves is None else lasting(max(0.0, resident.leaves - now))
    name = text("  ", (resident.plugin, "bold"))
    return name, text(resident.model), state(resident.state), memory, idle, leaves


def _wait_cells(wait: WaitView | None, now: float) -> tuple[Text | str, Text | str]:
    if wait is None:
        return "", ""
    jobs = [plural(wait.jobs, "job")] if wait.jobs else []
    urgent = [(f"{wait.urgent} urgent", "bold")] if wait.urgent else []
    return joined([*jobs, *urgent], ", "), "" if wait.since is None else lasting(now - wait.since)


def _left(device: DeviceLeases) -> Text:
    each = [f"{one.plugin} {ago(one.at)} ({one.reason})" for one in device.left]
    return text(("  left: " + "; ".join(each), "dim"))
