"""What of a device's memory our workers hold, and what others do: the rest of what is used.

A device that tells of each process is believed. Of one that does not (a GPU in a container), what its use grows by is
the worker's that is at work, and anybody else's while none is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from host import processes
from host.leasing.devices import Gauge, Reading
from host.log import get_logger

RESIDUE_MB = 64.0  # of a device's memory that may stay behind unsaid: the driver's own use of it varies by less
PATIENCE = 10.0  # seconds for a device to give memory back
LOOK_EVERY = 0.02

log = get_logger(__name__)


@dataclass(slots=True)
class Holding:
    """What a worker holds of the device in MB: now, and at most so far."""

    now_mb: float = 0.0
    peak_mb: float = 0.0

    def holds(self, memory_mb: float) -> None:
        """It was seen to hold so much."""
        self.now_mb = memory_mb
        self.peak_mb = max(self.peak_mb, memory_mb)


class Occupancy:
    """The books of one device; workers are known by their mark."""

    def __init__(self, gauge: Gauge, are_there: Callable[[Iterable[int]], bool] = processes.are_there) -> None:
        self.gauge = gauge
        self._are_there = are_there
        self._looking = asyncio.Lock()
        self.others_mb = 0.0
        self.answers = True
        self.reserved: set[str] = set()  # marks of workers that hold no model under a lease: warm spares, stuck ones
        self._holdings: dict[str, Holding] = {}
        self._used: float | None = None
        self._tells = False  # whether it has ever told of one of our processes

    @property
    def holdings(self) -> Mapping[str, Holding]:
        """What each worker holds, to be read only."""
        return self._holdings

    @property
    def limit_mb(self) -> float:
        """What is left of the device for models."""
        reserved = sum(holding.now_mb for mark, holding in self._holdings.items() if mark in self.reserved)
        return max(0.0, self.gauge.device.memory_mb - self.others_mb - reserved) if self.answers else 0.0

    def enter(self, mark: str) -> Holding:
        """A worker is about to start."""
        return self._holdings.setdefault(mark, Holding())

    async def measure(self, families: Mapping[str, Collection[int]], working: Collection[str] = ()) -> bool:
        """Look at the device; `families` are the processes of each worker, `working` those that are at work.

        False when nothing can be said now: it does not answer, or a worker is about to go.
        """
        pids = [pid for family in families.values() for pid in family]
        async with self._looking:
            reading = await asyncio.to_thread(self.gauge.read, pids)
            self.answers = reading is not None
            whole = all(families.get(mark) for mark in self._holdings) and self._are_there(pids)
            if reading is not None and whole:  # while somebody goes, what is used says nothing of the others
                self._take(reading, families, working)
        return reading is not None and whole

    async def leave(self, mark: str, families: Mapping[str, Collection[int]], plugin: str) -> float:
        """A worker's processes have gone: return when its memory is back, or else what is not, in MB.

        What stays behind counts as others' from then on, so that nobody is promised it.
        """
        before, _ = self.others_mb, self._holdings.pop(mark, None)
        rest = {other: pids for other, pids in families.items() if other != mark}
        deadline = time.monotonic() + PATIENCE
        while not (await self.measure(rest) and self.others_mb <= before + RESIDUE_MB):
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(LOOK_EVERY)
        residue = max(0.0, self.others_mb - before)
        if residue <= RESIDUE_MB:
            return 0.0
        where = self.gauge.device.name
        log.warning("memory is not back after a model has left", plugin=plugin, device=where, memory_mb=round(residue))
        return residue

    def _take(self, reading: Reading, families: Mapping[str, Collection[int]], working: Collection[str]) -> None:
        held = reading.held_mb
        told = {mark: [held[pid] for pid in pids if pid in held] for mark, pids in families.items()}
        self._tells = self._tells or any(told.values())
        if self._tells:
            for mark in families.keys() & self._holdings.keys():
                self._holdings[mark].holds(sum(told[mark]))
        else:
            self._guess(reading.used_mb - (self._used or 0.0), working)
        self._used = reading.used_mb
        self.others_mb = max(0.0, reading.used_mb - sum(holding.now_mb for holding in self._holdings.values()))

    def _guess(self, growth: float, working: Collection[str]) -> None:
        busy = [self._holdings[mark] for mark in working if mark in self._holdings]
        if busy:
            busy[0].holds(max(0.0, busy[0].now_mb + growth))
