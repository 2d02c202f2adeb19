"""What a killed host leaves: workers, and what those had started. The next start ends them before anything is granted.

A file for each worker in the data directory says its process, when that started, and its mark. It is written once the
process is there, and removed once all of its family has gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from host import processes
from host.log import get_logger

PATIENCE = 10.0  # seconds for killed processes to be gone
LOOK_EVERY = 0.01

log = get_logger(__name__)


class Register:
    """The workers of a host, in files under `folder`; without one nothing is written."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def enter(self, pid: int, mark: str, plugin: str) -> None:
        """Note a worker that was just started."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            facts = {"pid": pid, "started": processes.started(pid), "plugin": plugin}
            (self._folder / f"{mark}.json").write_text(json.dumps(facts))

    def strike(self, mark: str) -> None:
        """Forget a worker whose family has gone."""
        if self._folder is not None:
            (self._folder / f"{mark}.json").unlink(missing_ok=True)

    async def clear(self) -> None:
        """End what an earlier host left, and return when its memory is back. Nobody else may use the folder."""
        if self._folder is None or not self._folder.is_dir():
            return
        for mark, facts in self._entries(self._folder):
            left = await end_family(mark, _itself(facts))
            if left:
                pids = ", ".join(str(process.pid) for process in left)
                log.error("what an earlier host left cannot be ended", plugin=facts.get("plugin"), processes=pids)
            else:
                self.strike(mark)

    def _entries(self, folder: Path) -> Iterator[tuple[str, dict[str, object]]]:
        for file in list(folder.iterdir()):
            facts: dict[str, object] = {}
            with contextlib.suppress(ValueError, OSError):  # cut off by the kill, but the name says enough
                facts = json.loads(file.read_text())
            yield file.stem, facts


def _itself(facts: dict[str, object]) -> list[psutil.Process]:
    """The recorded process, when it is still the same one."""
    pid = facts.get("pid")
    with contextlib.suppress(psutil.Error):
        if isinstance(pid, int) and facts.get("started") == processes.started(pid) is not None:
            return [psutil.Process(pid)]
    return []


async def end_family(mark: str, known: list[psutil.Process]) -> list[psutil.Process]:
    """Kill all that carries the mark, and those that are known, until none is left; who is left after `PATIENCE`.

    A process that exits loses its mark before its memory is back: so whoever was seen is waited for as well.
    """
    seen = {process.pid: process for process in known}
    deadline = time.monotonic() + PATIENCE
    while True:
        seen.update((process.pid, process) for process in await asyncio.to_thread(processes.family, mark))
        left = processes.living(seen.values())
        if not left or time.monotonic() >= deadline:
            return left
        processes.kill(left)
        await asyncio.sleep(LOOK_EVERY)
