"""Who computes where, now and in the last hours: by a running host, else by what the journal knows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hooks.model import Device
from host.dispatcher import Dispatcher
from host.journal import Journal, Row
from host.leasing.costs import Costs
from host.leasing.leases import Leases
from host.leasing.plan import Fate, Forecast
from host.leasing.slots import Slot
from host.plugin_manager import PluginRegistry
from host.views import (
    DepartureView,
    DeviceLeases,
    DeviceMoment,
    LeaseHistory,
    LeaseTable,
    PlannedDevice,
    PlannedModel,
    PlanView,
    ResidencyView,
    ResidentView,
    View,
    WaitView,
    WorkView,
)

DEPARTURES = 3
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Facts:
    """Where the answers come from; `running` is None when no host runs, so that only the journal knows anything."""

    journal: Journal
    registry: PluginRegistry
    dispatcher: Dispatcher
    leases: Leases
    running: int | None


async def lease_table(facts: Facts, queued: Mapping[str, int]) -> LeaseTable:
    """The devices with their residents and with who waits; `queued` are the waiting jobs of each plugin."""
    residents = _residents(facts.leases) if facts.running else await _left_behind(facts.journal)
    waits = [
        (slot.device.name, await _wait(facts, name, queued.get(name, 0))) for name, slot in facts.leases.slots.items()
    ]
    last = await facts.journal.row("last_leased")
    return LeaseTable(
        running=facts.running,
        paused=facts.leases.paused,
        pause_reason=facts.leases.why_paused,
        at=(last["at"] if last and not facts.running else None) or time.time(),
        devices=[
            _device(
                facts.leases,
                device,
                [one for where, one in residents if where == device.name],
                [one for where, one in waits if where == device.name and one.jobs + one.urgent],
                [
                    _departure(row)
                    for row in await facts.journal.rows("departures", device=device.name, limit=DEPARTURES)
                ],
            )
            for device in facts.leases.devices
        ],
    )


def _device(
    leases: Leases, device: Device, residents: list[ResidentView], waiting: list[WaitView], left: list[DepartureView]
) -> DeviceLeases:
    budget, used = round(leases.budget_mb(device.name)), sum(one.memory_mb for one in residents)
    turn = leases.turn_on(device.name)
    return DeviceLeases(
        name=device.name,
        kind=device.kind,
        budget_mb=budget,
        used_mb=used,
        free_mb=max(0, budget - used),
        withdrawn=leases.withdrawn(device.name),
        holder=turn.model if turn else None,
        fence=turn.fence if turn else 0,
        held_since=_wall_time(leases, turn.began) if turn else None,
        residents=residents,
        waiting=sorted(waiting, key=lambda one: one.since or time.time()),
        left=left,
    )


def _residents(leases: Leases) -> list[tuple[str, ResidentView]]:
    return [
        (slot.device.name, _resident(leases, name, slot))
        for name, slot in leases.slots.items()
        if slot.state != "unloaded"
    ]


def _resident(leases: Leases, name: str, slot: Slot) -> ResidentView:
    idle = slot.state == "ready"
    stays = not idle or slot.spec.pin or slot.waiting > 0
    return ResidentView(
        plugin=name,
        model=slot.spec.name,
        state=slot.state,
        memory_mb=round(slot.memory_mb),
        measured=slot.cost.memory_mb is not None,
        idle_since=_wall_time(leases, slot.idle_since) if idle else None,
        leaves=None if stays else _wall_time(leases, slot.idle_since + slot.spec.keep_alive),
    )


async def _left_behind(journal: Journal) -> list[tuple[str, ResidentView]]:
    """What was resident when a host was killed."""
    return [(row["device"], _known_resident(row)) for row in await journal.rows("residents")]


def _known_resident(row: Row) -> ResidentView:
    state: Literal["loading", "ready", "unloading"] = "ready" if row["loaded"] else "loading"
    return ResidentView(
        plugin=row["plugin"],
        model=row["model"],
        state="unloading" if row["leaving"] else state,
        memory_mb=round(row["memory_mb"]),
        measured=False,
        idle_since=None,
        leaves=None,
    )


async def _wait(facts: Facts, plugin: str, jobs: int) -> WaitView:
    """Who waits; in a host that does not run the journal alone knows since when."""
    first = await facts.journal.row("oldest_queued", plugin=plugin) if jobs and not facts.running else None
    return WaitView(
        plugin=plugin,
        model=facts.registry.usable[plugin].spec.name,
        jobs=jobs,
        urgent=facts.dispatcher.requests(plugin),
        since=first["queued"] if first is not None else facts.dispatcher.waiting_since(plugin),
    )


def _departure(row: Row) -> DepartureView:
    known = {key: row[key] for key in ("plugin", "model", "reason")}
    return DepartureView(**known, memory_mb=round(row["memory_mb"]), at=row["gone"])


def _wall_time(leases: Leases, moment: float) -> float:
    return time.time() - (leases.now() - moment)


async def lease_history(journal: Journal, hours: float) -> LeaseHistory:
    """What the journal knows of the last hours."""
    until = time.time()
    since = until - hours * HOUR
    states = await journal.rows("device_states", since=since)
    residencies = await journal.rows("residencies", since=since)
    return LeaseHistory(
        since=since,
        until=until,
        devices=[DeviceMoment(**_columns(row, DeviceMoment)) for row in states],
        residencies=[ResidencyView(**_columns(row, ResidencyView)) for row in residencies],
        work=[WorkView(**_columns(row, WorkView)) for row in await journal.rows("work_since", since=since)],
    )


def _columns(row: Row, shape: type[View]) -> dict[str, Any]:
    return {name: row[name] for name in shape.model_fields}


def plan_view(found: Forecast, costs: Costs) -> PlanView:
    """A forecast for people; `costs` are what was measured before it."""
    return PlanView(
        devices=[
            PlannedDevice(
                name=device.name,
                kind=device.kind,
                budget_mb=device.memory_mb,
                together=[sorted(group) for group in found.together.get(device.name, ())],
                reloads=sum(fate.reloads for fate in found.fates.values() if device.name in fate.devices)
                / found.rounds,
                reload_seconds=found.load_seconds.get(device.name, 0.0) / found.rounds,
            )
            for device in found.devices
            if device.kind != "none" and device.memory_mb > 0
        ],
        models=[_planned_model(plugin, fate, found, costs) for plugin, fate in found.fates.items()],
    )


def _planned_model(plugin: str, fate: Fate, found: Forecast, costs: Costs) -> PlannedModel:
    slot, swaps = (
        fate.slot,
        fate.makes_room_for
        | {other for other, one in found.fates.items() if plugin in one.makes_room_for and one.reloads},
    )
    return PlannedModel(
        plugin=plugin,
        model=slot.spec.name,
        variant=slot.variant,
        devices=fate.devices or [slot.device.name],
        memory_mb=round(slot.memory_mb),
        measured=slot.cost.memory_mb is not None,
        load_seconds=costs.of(slot.cost_key).load_seconds,
        fate="never fits" if fate.refused else "swaps" if fate.reloads else "stays",
        swaps_with=sorted(swaps) if fate.reloads else [],
        reason=fate.refused,
    )
