"""What there is and how it stands: inboxes, queues, devices, plugins and models as `status` and its like show them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hooks import API_VERSION
from host.config import Mqtt
from host.crew import Crew
from host.dispatcher import Dispatcher
from host.leasing.leases import Leases
from host.leasing.slots import Slot
from host.plugin_manager import Plugin, PluginRegistry, Unusable
from host.records import Record, Records
from host.sources.folder import FolderSource
from host.views import DeviceView, InboxView, ModelView, MqttView, PluginView, QueueView, RecordView

if TYPE_CHECKING:
    from host.mqtt.link import Link

AGAIN = "It is tried again by itself."
Counts = Mapping[str, Mapping[str, int]]


def inbox_views(sources: Iterable[FolderSource]) -> list[InboxView]:
    """The watched folders."""
    return [
        InboxView(
            name=source.inbox.name,
            path=str(source.inbox.path),
            mode=source.inbox.mode,
            after=source.inbox.after,
            settling=source.settling,
            taking=source.taking,
            alarm=source.alarm,
        )
        for source in sources
    ]


def mqtt_view(settings: Mqtt, broker: str, links: Sequence[Link], problems: Iterable[str]) -> MqttView:
    """The broker, of a host whose connections these are; `problems` are what else is wrong."""
    away = [link for link in links if link.state == "away"]
    behind = away or [link for link in links if link.state == "connecting"] or links
    alarms = list(dict.fromkeys(filter(None, (*problems, *(link.problem for link in away)))))
    if away and not alarms[-1].endswith(AGAIN):
        alarms.append(AGAIN)
    return MqttView(
        broker=broker,
        embedded=settings.is_embedded,
        state=behind[0].state if behind else "stopped",
        since=min((link.since for link in behind), default=None),
        alarm=" ".join(alarms),
    )


def queue_views(counts: Counts, registry: PluginRegistry, dispatcher: Dispatcher) -> list[QueueView]:
    """The queues of all plugins that have, or had, jobs; `counts` are the jobs in the journal by plugin and state."""
    views = []
    for plugin in sorted(counts.keys() | registry.hooks_of_plugins().keys()):
        states, running = counts.get(plugin, {}), len(dispatcher.running(plugin))
        views.append(
            QueueView(
                plugin=plugin,
                queued=max(0, states.get("queued", 0) - running),
                running=running,
                done=states.get("done", 0),
                failed=states.get("failed", 0),
                off=dispatcher.records.why_off(plugin),
            )
        )
    return views


def device_views(leases: Leases, crew: Crew) -> list[DeviceView]:
    """The devices, with who holds them, what is resident, and what others do there."""
    views = []
    for device in leases.devices:
        turn = leases.turn_on(device.name)
        here = {name: slot for name, slot in leases.slots.items() if slot.device.name == device.name}
        resident = {name: slot for name, slot in here.items() if slot.state != "unloaded"}
        views.append(
            DeviceView(
                name=device.name,
                kind=device.kind,
                budget_mb=device.memory_mb,
                used_mb=round(sum(slot.memory_mb for slot in resident.values())),
                holder=turn.model if turn else None,
                fence=turn.fence if turn else 0,
                residents=list(resident),
                withdrawn=leases.withdrawn(device.name),
                others_mb=round(crew.others_mb(device.name)),
                note=crew.notes.get(device.name, ""),
            )
        )
    return views


def plugin_views(registry: PluginRegistry, records: Records) -> list[PluginView]:
    """All plugins that are installed, usable or not, with their records."""
    views = [_usable(plugin) for plugin in registry.usable.values()] + [_unusable(one) for one in registry.unusable]
    return sorted((_with_record(view, records.of(view.name)) for view in views), key=lambda view: view.name)


def _with_record(view: PluginView, record: Record) -> PluginView:
    jobs = record.done + record.failed
    found = RecordView(
        done=record.done,
        failed=record.failed,
        in_a_row=record.in_a_row,
        seconds=record.seconds / jobs if jobs and record.seconds else None,
        memory_mb=record.memory_mb or None,
        notes=record.sentences,
    )
    changes: dict[str, Any] = {"off": record.off, "record": found}
    if record.off and not view.problem:
        changes |= {"enabled": False, "problem": f"{record.off}: {record.why} `sensorium plugin enable {view.name}`"}
    return view.model_copy(update=changes)


def _usable(plugin: Plugin) -> PluginView:
    return PluginView(
        name=plugin.name,
        version=plugin.version,
        distribution=plugin.distribution,
        api=str(API_VERSION),
        hooks=sorted(plugin.hooks),
        enabled=True,
        model=plugin.spec.name if plugin.has_model else None,
        isolated=plugin.is_isolated,
    )


def _unusable(one: Unusable) -> PluginView:
    return PluginView(
        name=one.name,
        version=one.version,
        distribution=one.distribution,
        api=one.api,
        hooks=[],
        enabled=not one.disabled,
        model=None,
        problem=one.problem,
        isolated=one.is_isolated,
    )


def model_views(registry: PluginRegistry, leases: Leases, dispatcher: Dispatcher) -> list[ModelView]:
    """All models of the usable plugins."""
    return [
        _model(plugin, leases.slots[name], dispatcher.pid(name))
        for name, plugin in registry.usable.items()
        if plugin.has_model
    ]


def _model(plugin: Plugin, slot: Slot, pid: int) -> ModelView:
    missing = [str(path) for path in plugin.spec.files if not path.exists()]
    return ModelView(
        plugin=plugin.name,
        name=plugin.spec.name,
        device=slot.device.name,
        declared_mb=plugin.spec.memory_mb,
        measured_mb=slot.cost.memory_mb,
        load_seconds=slot.cost.load_seconds,
        state=slot.state,
        pid=pid or None,
        waiting=slot.waiting,
        batch=plugin.spec.batch,
        keep_alive=plugin.spec.keep_alive,
        problem=f"missing: {', '.join(missing)}" if missing else "",
    )
