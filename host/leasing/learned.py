"""What was learned of models, kept in the journal: footprints and load times by plugin, model, settings and device."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from hooks.model import Device
from host.errors import JournalError
from host.journal import Journal, Statement
from host.leasing.costs import Cost, CostKey, Costs
from host.log import get_logger
from host.plugin_manager import Plugin, settings_sha256

log = get_logger(__name__)


class Learned:
    """Brings what is known into `costs`, and writes down what changes there while it is run."""

    def __init__(self, journal: Journal, costs: Costs, plugins: Iterable[Plugin], devices: Iterable[Device]) -> None:
        self._journal = journal
        self._costs = costs
        self._plugins = {plugin.name: plugin for plugin in plugins}
        self._devices = {device.name: device.uuid or device.name for device in devices}
        self._changed: dict[CostKey, Cost] = {}
        self._wake = asyncio.Event()

    async def recall(self) -> None:
        """Take over what an earlier host has learned of these very models, settings and devices."""
        names = {lasting: name for name, lasting in self._devices.items()}
        for row in await self._journal.rows("costs"):
            plugin = self._plugins.get(row["plugin"])
            if plugin is None or row["device"] not in names:
                continue
            if (row["model"], row["settings"]) == (plugin.spec.name, settings_sha256(plugin.settings)):
                key = CostKey(plugin.name, row["variant"], names[row["device"]])
                self._costs.remember(key, Cost(row["memory_mb"], row["load_seconds"]))

    async def run(self) -> None:
        """Write down what is learned from now on; ends by cancellation, after `flush`."""
        self._costs.on_change = self._note
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Write down what changed. On a full disk it is forgotten with this host, and nothing waits for it."""
        changed, self._changed = self._changed, {}
        rows = [self._row(key, cost) for key, cost in changed.items() if key.model in self._plugins]
        try:
            await self._journal.write(Statement("learn_cost", rows))
        except JournalError as error:
            if not error.passing:
                raise
            log.warning("what was learned of a model is not recorded", reason=str(error))

    def _note(self, key: CostKey, cost: Cost) -> None:
        self._changed[key] = cost
        self._wake.set()

    def _row(self, key: CostKey, cost: Cost) -> dict[str, Any]:
        plugin = self._plugins[key.model]
        return {
            "plugin": plugin.name, "model": plugin.spec.name, "settings": settings_sha256(plugin.settings),
            "variant": key.variant, "device": self._devices.get(key.device, key.device),
            "memory_mb": cost.memory_mb, "load_seconds": cost.load_seconds, "seen": time.time(),
        }  # fmt: skip
