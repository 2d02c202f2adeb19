"""Leaves the GPUs to others for a while: because somebody said so, in quiet hours, or because other programs need them.

    in use ⇄ withdrawn     with at least one reason; the models leave after the batch that runs
    at work ⇄ paused       in quiet hours that pause everything

Nothing is decided twice: the leases are told only what changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, tzinfo

from host.config import Devices, QuietHours
from host.leasing.leases import Leases
from host.leasing.quiet import Crowding, last_quiet
from host.log import get_logger

EVERY = 2.0
ASKED = "`sensorium pause --gpu`"

log = get_logger(__name__)


class Yielding:
    """Decides what is withdrawn; `others_mb` says what other programs hold of a GPU, None where that is not known."""

    def __init__(
        self,
        leases: Leases,
        quiet: Sequence[QuietHours],
        devices: Devices,
        others_mb: Callable[[str], float | None],
        *,
        clock: Callable[[], float] = time.time,
        zone: tzinfo | None = None,
    ) -> None:
        self._leases = leases
        self._quiet = quiet
        self._others_mb = others_mb
        self._clock = clock
        self._zone = zone
        self._asked = False
        # One without memory stands for the GPU that a model needs and that is not there.
        self._gpus = [device.name for device in leases.devices if device.kind == "gpu" and device.memory_mb > 0]
        above, after, back = devices.yield_above_mb, devices.yield_after, devices.yield_back_after
        self._crowding = {gpu: Crowding(above, after, back) for gpu in self._gpus if above is not None}

    @property
    def gpus(self) -> list[str]:
        """The GPUs that there are to leave."""
        return self._gpus

    async def run(self) -> None:
        """Look again and again, until cancelled; what was withdrawn is given back then."""
        try:
            while True:
                self.look()
                await asyncio.sleep(EVERY)
        finally:
            self._quiet, self._asked, self._crowding = (), False, {}
            self.look()

    def leave_gpus(self, asked: bool) -> None:
        """Somebody wants the GPUs for something else, or gives them back."""
        self._asked = asked
        self.look()

    def look(self) -> None:
        """Withdraw, pause, or give back, as it is right now."""
        paused_until = self._until("all")
        self._leases.rest(f"quiet hours until {paused_until:%H:%M}" if paused_until else "")
        for gpu in self._gpus:
            reason = ", ".join(self._reasons(gpu))
            if reason == self._leases.withdrawn(gpu):
                continue
            if reason:
                self._leases.withdraw(gpu, reason)
            else:
                self._leases.restore(gpu)
            log.info("device withdrawn" if reason else "device in use again", device=gpu, reason=reason)

    def _reasons(self, gpu: str) -> Iterator[str]:
        if self._asked:
            yield ASKED
        if quiet := self._until("gpu"):
            yield f"quiet hours until {quiet:%H:%M}"
        if (crowding := self._crowding.get(gpu)) is not None:
            others = self._others_mb(gpu)
            if others is not None and crowding.observe(others, self._leases.now()):
                yield f"other programs hold more than {crowding.above_mb:.0f} MB of it"

    def _until(self, what: str) -> datetime | None:
        return last_quiet([hours for hours in self._quiet if hours.pause == what], self._clock(), self._zone)
