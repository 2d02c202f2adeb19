"""What the leases' history costs a turn: beside one that waits for its grant's commit, and one without any history."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from hooks.model import Device, ModelSpec
from host.journal import open_journal
from host.leasing.history import History
from host.leasing.leases import Leases
from host.leasing.policy import Priority
from tools.bench.report import Figure, Report, spread

TURNS = 2000
REPEATS = 5
MODELS = ("a", "b")
DEVICES = [Device(name="cpu", kind="cpu", memory_mb=1000), Device(name="light", kind="none", memory_mb=100)]


class Takers:
    """leases.Effects that take no time, for two models that take turns; `wait` is awaited in each turn."""

    def __init__(self) -> None:
        self.now = 0.0
        self.leases = Leases(DEVICES, lambda: self.now)
        self.wait: Callable[[], Awaitable[None]] | None = None
        self.fences: set[int] = set()
        for model in MODELS:
            self.leases.add(model, ModelSpec(name=model, memory_mb=100, device="cpu", keep_alive=1e9))

    async def turns(self) -> float:
        """Seconds that the turns take."""
        began = time.perf_counter()
        for model in MODELS:
            self.leases.demand(model, 1, 0, 0.0)
        await self.leases.run(self)
        return time.perf_counter() - began

    async def load(self, model: str, device: Device, spec: ModelSpec) -> None:
        return None

    async def run_batch(self, model: str, fence: int, priority: Priority) -> bool:
        if self.wait is not None:
            await self.wait()
        self.fences.add(fence)
        self.now += 2.0  # longer than a resident model keeps its turn
        if len(self.fences) >= TURNS:
            self.leases.close()
        return True

    async def unload(self, model: str) -> None:
        return None

    async def refuse(self, model: str, reason: str) -> None:
        raise RuntimeError(reason)

    def peak_mb(self, model: str) -> float | None:
        return None


async def with_history(*, waiting: bool) -> tuple[float, int]:
    """Seconds of the turns, and how many of them are not in the journal afterwards."""
    with tempfile.TemporaryDirectory(dir=".") as folder:  # on a disk: /tmp may be memory
        async with open_journal(Path(folder, "journal.db")) as journal:
            writer = asyncio.create_task(journal.run_writer())
            takers = Takers()
            history = History(journal, takers.leases, {}, keep_days=1)
            await history.open()
            await history.settle()
            takers.wait = history.settle if waiting else None
            seconds = await takers.turns()
            await history.settle()
            with contextlib.closing(sqlite3.connect(journal.path)) as looking:
                kept = looking.execute("SELECT count(*) FROM leases").fetchone()[0]
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
    return seconds, len(takers.fences) - kept


def lease_history() -> Report:
    """Microseconds a turn, three ways in turns."""
    bare, ours, waiting, lost = [], [], [], 0
    for _ in range(REPEATS):
        bare.append(asyncio.run(Takers().turns()) / TURNS * 1e6)
        for kept, wait in ((ours, False), (waiting, True)):
            seconds, missing = asyncio.run(with_history(waiting=wait))
            kept.append(seconds / TURNS * 1e6)
            lost += missing
    share = statistics.median(one / other for one, other in zip(ours, waiting, strict=True))
    figures = [Figure("a turn with its history", spread(ours, "µs", 0), spread(waiting, "µs", 0), share, 0.1, False)]
    notes = [
        f"Beside it: a turn that waits until its grant is on the disk. Without any history: {spread(bare, 'µs', 0)}.",
        f"{TURNS} turns of two resident models in which nothing is done; a real batch takes milliseconds at least.",
    ]
    return Report("lease_history", "What it costs to write down who computes", lost, 0, figures, notes)
