"""`sensorium status`: the whole host at a glance."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, configuration
from host.cli.output import (
    Piece,
    ago,
    console,
    joined,
    moment,
    pairs,
    plural,
    show,
    show_json,
    show_json_line,
    table,
    text,
)
from host.cli.service import ask, open_service
from host.config import Config
from host.control import ControlClient
from host.names import whereabouts
from host.views import DeviceView, MqttView, QueueView, SinkView, SourceView, Status

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

AFTER = {"remove": "taken out", "done": "moved to done", "keep": "kept"}
BAR = 20


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every second, until Ctrl-C.")] = False,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Inboxes, backlog, what is loaded and what failed, at a glance."""
    chosen = configuration(config, data)
    if watch:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_watch(chosen, as_json))
        return
    found = ask(chosen, lambda service: service.status())
    if as_json:
        show_json(found)
    else:
        show(glance(found))


async def _watch(config: Config, as_json: bool) -> None:
    if as_json:
        async for found in _seen(config):
            show_json_line(found)
    elif sys.stdout.isatty():
        await _live(_seen(config))
    else:
        async for found in _seen(config):
            show(glance(found), "")


async def _seen(config: Config) -> AsyncIterator[Status]:
    """The status again and again, whether or not a host runs: it may start and end meanwhile."""
    while True:
        async with open_service(config, writes=False) as service:
            if isinstance(service, ControlClient):
                async for found in service.watch_status():
                    yield found
            else:
                yield await service.status()
        await asyncio.sleep(1)


async def _live(seen: AsyncIterator[Status]) -> None:
    from rich.live import Live

    with Live(console=console(), screen=True, auto_refresh=False) as live:
        async for found in seen:
            live.update(glance(found), refresh=True)


def glance(found: Status) -> Group:
    """The status as a page."""
    from rich.console import Group

    parts: list[RenderableType] = [_headline(found), _places(found), _inboxes(found)]
    if found.mqtt is not None:
        parts.append(_broker(found.mqtt))
    if found.sources:
        parts.append(_sources(found.sources))
    if found.sinks:
        parts.append(_sinks(found.sinks))
    if found.queues:
        parts.append(_queues(found))
        parts += [_off(queue) for queue in found.queues if queue.off and queue.queued]
    if found.devices:
        parts.append(_devices(found.devices))
    if found.failures:
        parts.append(_failures(found))
    if found.refusals:
        parts.append(_refusals(found))
    spaced = [part for pair in zip(parts, [""] * len(parts), strict=True) for part in pair]
    return Group(*spaced[:-1])


def _headline(found: Status) -> Text:
    if found.running is None:
        state = text(("No host runs here", "bold yellow"))
    elif found.paused:
        state = text((f"Paused (process {found.running}), {found.pause_reason}", "bold yellow"))
    else:
        state = text((f"Running (process {found.running})", "bold green"))
    counts: list[Piece] = [
        plural(found.events, "event"),
        f"{found.queued} queued",
        *([(f"{found.failed} failed", "red")] if found.failed else []),
        *([(f"{found.refused} refused", "yellow")] if found.refused else []),
        *([f"{plural(found.owed, 'sidecar')} to write"] if found.owed else []),
    ]
    return text("  ").join([state, joined(counts, ", ")])


def _places(found: Status) -> Table:
    advice = "sensorium resume" if found.paused else "sensorium run" if found.running is None else ""
    rows = [("results", found.outbox), ("data", found.data)]
    return pairs([*rows, ("to go on", advice)] if advice else rows)


def _inboxes(found: Status) -> Table:
    grid = table("Inbox", "Folder", "Files are", "Now", whole=["Inbox", "Files are"])
    for inbox in found.inboxes:
        counts = [(inbox.settling, "settling"), (inbox.taking, "being taken")]
        quiet = "not watched" if found.running is None else f"{inbox.mode}ed"
        now = ", ".join(f"{count} {what}" for count, what in counts if count) or quiet
        cell = text((inbox.alarm, "bold red")) if inbox.alarm else text(now)
        grid.add_row(text(inbox.name), text(inbox.path), AFTER[inbox.after], cell)
    return grid


def _broker(found: MqttView) -> Table:
    grid = table("MQTT broker", "State", "Taken in", "To publish", numbers=("Taken in", "To publish"))
    address = text(found.broker, " (our own)" if found.embedded and found.state != "stopped" else "")
    since = f" since {moment(found.since)}" if found.since is not None and found.state != "stopped" else ""
    state = text((f"{found.state}{since}", "bold red" if found.alarm else ""))
    grid.add_row(address, state, str(found.taken), str(found.owed))
    if found.alarm:
        grid.add_row("", text((found.alarm, "bold red")), "", "")
    return grid


def _sources(sources: list[SourceView]) -> Table:
    grid = table("Source", "Plugin", "Taken in", "Now", numbers=("Taken in",), whole=["Source", "Plugin"])
    for source in sources:
        now = text((source.alarm, "bold red")) if source.alarm else text(source.state)
        grid.add_row(text(source.name), text(source.plugin), str(source.taken), now)
    return grid


def _sinks(sinks: list[SinkView]) -> Table:
    grid = table("Sink", "To tell", "Given up", "Now", numbers=("To tell", "Given up"), whole=["Sink"])
    for sink in sinks:
        well = "told" if sink.in_use else "not in use"
        now = text((f"{sink.alarm} It is tried again.", "bold red")) if sink.alarm else text(well)
        grid.add_row(text(sink.name), str(sink.owed), str(sink.given_up), now)
    return grid


def _queues(found: Status) -> Table:
    numbers = ("Queued", "Running", "Done", "Failed")
    grid = table("Plugin", *numbers, numbers=numbers, whole=["Plugin"])
    for queue in found.queues:
        failed = text((str(queue.failed), "red" if queue.failed else ""))
        name = text(queue.plugin, *([(" (off)", "bold red")] if queue.off else []))
        grid.add_row(name, str(queue.queued), str(queue.running), str(queue.done), failed)
    return grid


def _off(queue: QueueView) -> Text:
    advice = f"Its jobs wait until `sensorium plugin enable {queue.plugin}`."
    return text((f"{queue.plugin} is off: {queue.off} {advice}", "bold red"))


def _devices(devices: list[DeviceView]) -> Table:
    grid = table("Device", "Memory", "", "Computing", "Loaded", whole=["Device", "Memory", ""])
    for device in devices:
        share = min(1.0, device.used_mb / device.budget_mb) if device.budget_mb else 0.0
        full = round(share * BAR)
        bar = text(("█" * full, "cyan"), ("░" * (BAR - full), "dim"))
        others = f", others {device.others_mb}" if device.others_mb else ""
        numbers = f"{device.used_mb} of {device.budget_mb} MB{others}"
        loaded = text(", ".join(device.residents) or "nothing")
        at_work = text(device.note or device.holder or "idle")
        now = text((f"withdrawn: {device.withdrawn}", "yellow")) if device.withdrawn else at_work
        grid.add_row(text(device.name), bar, numbers, now, loaded)
    return grid


def _failures(found: Status) -> Table:
    grid = table("Failed", "Plugin", "Why", "When", whole=["Plugin", "When"])
    for failure in found.failures:
        why = text((failure.message, "red"), " ", failure.hint)
        grid.add_row(text(whereabouts(failure.origin, failure.moment)), text(failure.plugin), why, ago(failure.at))
    if found.failed > len(found.failures):
        grid.add_row(text((f"and {found.failed - len(found.failures)} more", "dim")), "", "", "")
    return grid


def _refusals(found: Status) -> Table:
    grid = table("Refused", "From", "Why", "When", whole=["From", "When"])
    for refusal in found.refusals:
        grid.add_row(text(refusal.origin), text(refusal.source), text((refusal.reason, "yellow")), ago(refusal.at))
    return grid
