"""`sensorium run`, `pause` and `resume`: the host itself.

Ctrl-C          what runs is finished and committed, then the host ends
Ctrl-C again    workers are killed, the host ends at once with 130; what they did is done again at the next start
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, configuration
from host.cli.output import Piece, console, joined, plural, show, show_json, show_whole, text
from host.cli.service import ask
from host.config import Config, Inbox, Mqtt, Overrides, check_plugin_names, load_config
from host.errors import WorkFailed
from host.log import get_logger, start_logging
from host.views import MqttView, PluginView, Service, Status

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

    from host.app import App, RunSummary

STOPPED_NOW = 130
GRACE = 3.0  # seconds for killed workers to be gone
AFTER = {
    "remove": "files leave it once they are safe in the library",
    "done": "files are moved to {done}",
    "keep": "files stay where they are",
}

log = get_logger(__name__)


def run(
    once: Annotated[bool, typer.Option("--once", help="Work off everything that is there, then end.")] = False,
    inbox: Annotated[
        list[Path] | None,
        typer.Option("--inbox", metavar="DIR", help="Watch this folder instead of the configured ones; repeatable."),
    ] = None,
    outbox: Annotated[Path | None, typer.Option("--outbox", metavar="DIR", help="Where results go.")] = None,
    data: DataDir = None,
    config: ConfigFile = None,
) -> None:
    """Watch the inboxes and work on what arrives, until Ctrl-C."""
    chosen = load_config(config, Overrides(tuple(inbox or ()), outbox, data))
    summary = asyncio.run(_run(chosen, once))
    if not once or summary is None:
        return
    show_whole(_summary(summary, chosen))
    if summary.failed or summary.refused:
        raise WorkFailed(
            f"{plural(summary.failed, 'job')} failed, {plural(summary.refused, 'file')} refused.",
            "`sensorium status` shows the latest, `sensorium why FILE` explains one.",
        )


Gpu = Annotated[bool, typer.Option("--gpu", help="The GPUs alone: their models leave, and go on on the CPU or wait.")]


def pause(gpu: Gpu = False, config: ConfigFile = None, data: DataDir = None, as_json: AsJson = False) -> None:
    """Give no more work to models; what arrives is still taken in."""
    _pause(configuration(config, data), True, gpu, as_json)


def resume(gpu: Gpu = False, config: ConfigFile = None, data: DataDir = None, as_json: AsJson = False) -> None:
    """Go on giving work to models."""
    _pause(configuration(config, data), False, gpu, as_json)


def _pause(config: Config, paused: bool, gpu: bool, as_json: bool) -> None:
    async def change(service: Service) -> tuple[bool, str]:
        now = await service.pause(paused, gpu)
        return now, _why(await service.status(), gpu) if now and not paused else ""

    now, why = ask(config, change)
    if as_json:
        show_json({"gpu_paused" if gpu else "paused": now})
    elif now and not paused:
        show(text((f"Still paused: {why}.", "yellow")))
    elif gpu:
        back = "Models leave the GPU after the batch that runs. `sensorium resume --gpu` gives it back to them."
        show(text(back if now else "The GPU is used again."))
    else:
        show(text("Paused. `sensorium resume` goes on." if now else "Going on."))


def _why(found: Status, gpu: bool) -> str:
    withdrawn = (f"{device.name}: {device.withdrawn}" for device in found.devices if device.withdrawn)
    return "; ".join(withdrawn) if gpu else found.pause_reason


async def _run(config: Config, once: bool) -> RunSummary | None:
    from host.app import open_app  # the larger part of a start

    start_logging(config.host.log_level, None)
    async with open_app(config, read_only=False) as app:
        # Only now the data directory is ours, and with it the log.
        start_logging(config.host.log_level, config.paths.data / "logs" / "host.log")
        plugins = await app.plugins()
        check_plugin_names(config, [plugin.name for plugin in plugins], app.registry.kinds)
        with _signals(app) as stopped:
            show_whole(_banner(config, plugins, once, await app.broker_view()))
            log.info("host started", process=os.getpid(), once=once)
            summary = await _work(app, once)
        if stopped and (once or len(stopped) > 1):
            raise typer.Exit(STOPPED_NOW)
        return summary


async def _work(app: App, once: bool) -> RunSummary:
    try:
        with _progress() as live:
            return await app.run(once=once, on_progress=Progress(live) if live else None)
    except BaseExceptionGroup:
        log.exception("the host ended because a part of it did")
        raise


@contextlib.contextmanager
def _signals(app: App) -> Iterator[list[int]]:
    """Stop on the first signal, at once on the second; yields those that came."""
    loop = asyncio.get_running_loop()
    came: list[int] = []

    def on_signal(number: int) -> None:
        came.append(number)
        if len(came) == 1:
            console(stderr=True).print(text("Stopping: what runs is finished first. Ctrl-C again stops now."))
            app.stop()
        else:
            app.kill()
            loop.call_later(GRACE, _leave)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield came
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _leave() -> None:
    console(stderr=True).show_cursor()
    os._exit(STOPPED_NOW)


@contextlib.contextmanager
def _progress() -> Iterator[Live | None]:
    """A line at the foot of the terminal that says how far it is; nothing where there is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.live import Live

    with Live(console=console(stderr=True), auto_refresh=False, transient=True) as live:
        yield live


class Progress:
    """Draws the line, and only when it says something new: an idle host shall not keep a terminal busy."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._shown = ""

    def __call__(self, found: Status) -> None:
        line = progress_line(found)
        if line.plain != self._shown:
            self._shown = line.plain
            self._live.update(line, refresh=True)


def progress_line(found: Status) -> Text:
    """How far the host is, in one line."""
    done = sum(queue.done for queue in found.queues)
    arriving = sum(inbox.settling + inbox.taking for inbox in found.inboxes)
    busy = [f"{queue.plugin} at work" for queue in found.queues if queue.running]
    alarms = [(f"{inbox.name}: {inbox.alarm}", "bold red") for inbox in found.inboxes if inbox.alarm]
    if found.mqtt is not None and found.mqtt.alarm:
        alarms.append((f"MQTT: {found.mqtt.alarm}", "bold red"))
    withdrawn = [
        (f"{device.name} withdrawn ({device.withdrawn})", "yellow") for device in found.devices if device.withdrawn
    ]
    idle = not (arriving or found.queued or busy or found.owed)
    pieces: list[Piece] = [
        (f"paused ({found.pause_reason})", "bold yellow")
        if found.paused
        else ("watching", "green")
        if idle
        else ("working", "cyan"),
        *([f"{arriving} arriving"] if arriving else []),
        *([f"{found.queued} queued"] if found.queued else []),
        f"{done} done",
        *([(f"{found.failed} failed", "red")] if found.failed else []),
        *busy,
        *withdrawn,
        *alarms,
    ]
    line = joined(pieces, " · ")
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _banner(config: Config, plugins: list[PluginView], once: bool, broker: MqttView | None) -> Text:
    from rich.text import Text

    what = "works off" if once else "watches"
    rows = [text(("Sensorium", "bold"), f" {what}")]
    rows += [text("  ", (str(inbox.path), "bold"), f"  ({_after(inbox)})") for inbox in config.inboxes]
    rows.append(text("results  ", (f"{config.paths.outbox}/NAME.json", "bold")))
    rows.append(text("data     ", str(config.paths.data)))
    if broker is not None and not (once and broker.embedded):
        rows += _mqtt(config.mqtt, broker)
    used = [
        f"{one.name} ({one.model})" if one.model else one.name for one in plugins if one.enabled and not one.problem
    ]
    rows.append(text("plugins  ", ", ".join(used) or "none"))
    rows += [text((f"         {one.name}: {one.problem}", "yellow")) for one in plugins if one.enabled and one.problem]
    if not once:
        rows.append(text(("Ctrl-C stops. In another terminal: sensorium status", "dim")))
    return Text("\n").join(rows)


def _mqtt(settings: Mqtt, broker: MqttView) -> list[Text]:
    """Where devices meet the host, and what an embedded broker cannot do."""
    topics = ", ".join(one.topic for one in settings.subscribe)
    rows = [text("mqtt     ", (broker.broker, "bold"), f"  (takes in {topics})")]
    if broker.embedded:
        moved = not broker.broker.endswith(f":{settings.embedded_port}")
        taken = f"port {settings.embedded_port} is taken, so it is this one; " if moved else ""
        limits = "our own broker, for trying things out: it is reached from this machine alone, by everybody here,"
        rows.append(text((f"         {taken}{limits}", "dim")))
        rows.append(text(("         and keeps nothing for who is away. Watch it: sensorium mqtt watch", "dim")))
    return rows


def _after(inbox: Inbox) -> str:
    return AFTER[inbox.after].format(done=inbox.done)


def _summary(summary: RunSummary, config: Config) -> Text:
    counts: list[Piece] = [
        (f"{plural(summary.done, 'job')} done", "green"),
        *([(f"{summary.failed} failed", "red")] if summary.failed else []),
        *([(f"{summary.refused} refused", "yellow")] if summary.refused else []),
    ]
    return joined(counts, ", ").append_text(text(f"; results are in {config.paths.outbox}"))
