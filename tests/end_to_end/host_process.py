"""A real host as a child process: on folders of its own, killed at a named step or stalled where a test wants it.

Run as a script this file is the child.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.plugin_kit import BUILT_IN_OFF, MEASURE, install_plugin, python_path

OFF = {"enabled": False}


@dataclass
class Place:
    """The folders of one host, and what its configuration says beside them."""

    root: Path
    inbox_settings: dict[str, Any] = field(default_factory=dict)
    plugins: dict[str, Any] = field(default_factory=lambda: dict(BUILT_IN_OFF))
    starts: int = 0

    def __post_init__(self) -> None:
        for folder in (self.inbox, self.site):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def outbox(self) -> Path:
        return self.root / "outbox"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def site(self) -> Path:
        return self.root / "site"

    @property
    def alarm_clock(self) -> Path:
        return self.root / "wake-up"

    def wake_reader(self) -> None:
        """Let a stalled reader go on, if it has slept long enough."""
        self.alarm_clock.touch()

    def config(self) -> dict[str, Any]:
        return {
            "paths": {"data": str(self.data), "outbox": str(self.outbox)},
            "inbox": [{"path": str(self.inbox), "quiet": 0.05, **self.inbox_settings}],
            "jobs": {"backoff": [0.1]},
            "plugins": self.plugins,
        }

    def measure(self) -> None:
        """Install a plugin that says size and hash of every content."""
        install_plugin(self.site, "measure", MEASURE)

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """What the journal says, read beside the host."""
        connection = sqlite3.connect(f"file:{self.data}/journal.db?mode=ro", uri=True, timeout=30)
        connection.row_factory = sqlite3.Row
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def count(self, what: str) -> int:
        return int(self.rows(f"SELECT count(*) AS n FROM {what}")[0]["n"])

    def last_log(self) -> str:
        return (self.root / f"host-{self.starts}.log").read_text(errors="replace")


@contextmanager
def host(
    place: Place,
    *,
    once: bool = False,
    kill_at: tuple[str, int] | None = None,
    stall: float = 0.0,
    prefix: tuple[str, ...] = (),
) -> Iterator[subprocess.Popen[str]]:
    """A host at work; what it says on its standard output are the steps it takes for the first time, and `idle`.

    With `once` it ends by itself; with `kill_at` it kills itself at the n-th time of a step; with `stall` the thread
    that reads the kernel's notifications sleeps when the first one comes: so many seconds and until
    `Place.wake_reader`.
    """
    place.starts += 1
    stalled = [stall, str(place.alarm_clock)] if stall else None
    request = json.dumps({"config": place.config(), "once": once, "kill_at": kill_at, "stall": stalled})
    command = [*prefix, sys.executable, __file__, request]
    with (place.root / f"host-{place.starts}.log").open("wb") as log:
        environment = {**os.environ, "PYTHONPATH": python_path(place.site)}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def run_once(place: Place, *, limit: float = 120, **options: Any) -> int:
    """Let a host work everything off; what it ended with (negative: the signal)."""
    with host(place, once=True, **options) as process:
        process.communicate(timeout=limit)
        return process.returncode


def said(process: subprocess.Popen[str], word: str) -> None:
    """Wait until the host says this word."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"the host ended ({process.wait()}) and never said {word!r}")


def stop(process: subprocess.Popen[str], limit: float = 60) -> int:
    """End a host as Ctrl-C does."""
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=limit)
    return process.returncode


def until(condition: Any, *, limit: float = 60, every: float = 0.05) -> None:
    """Wait for what another process brings about."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(every)


# -- the child -------------------------------------------------------------------------------------------------------


class Steps:
    """Observes the host: says each step the first time, and kills this process where it was told to."""

    def __init__(self, kill_at: tuple[str, int] | None) -> None:
        self._kill_at = kill_at
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def __call__(self, step: str) -> None:
        with self._lock:
            count = self._counts[step] = self._counts.get(step, 0) + 1
            if self._kill_at is not None and [step, count] == list(self._kill_at):
                os.kill(os.getpid(), signal.SIGKILL)
            if count == 1:
                print(step, flush=True)


def stall_reader(seconds: float, alarm_clock: str) -> None:
    """Let the thread that reads the kernel's queue sleep once, when the first notifications come."""
    from watchdog.observers.inotify_c import InotifyFD

    read = InotifyFD.read_events
    naps = [seconds]

    def read_late(self: InotifyFD, **options: Any) -> Any:
        events = read(self, **options)
        if events and naps:
            time.sleep(naps.pop())
            until(lambda: os.path.exists(alarm_clock), limit=600)
        return events

    InotifyFD.read_events = read_late  # type: ignore[method-assign]


async def work(request: dict[str, Any]) -> int:
    from host.app import open_app
    from host.config import Config
    from host.log import start_logging

    start_logging("info", None)
    async with open_app(Config.model_validate(request["config"]), observe=Steps(request["kill_at"])) as app:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, app.stop)
        first_idle = asyncio.create_task(_say_idle(app))
        summary = await app.run(once=request["once"])
        first_idle.cancel()
    print(summary, file=sys.stderr)
    return 0


async def _say_idle(app: Any) -> None:
    for source in app.sources:
        await source.idle.wait()
    print("idle", flush=True)


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    if wanted["stall"]:
        stall_reader(*wanted["stall"])
    sys.exit(asyncio.run(work(wanted)))
