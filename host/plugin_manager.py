"""Which plugins there are, which can be used, and what each needs.

Plugins come by the entry-point group `sensorium`, ours as anybody's. One that cannot be imported, or is made for
another hook API, is listed with its reason, and the host runs on.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import pluggy
from pydantic import BaseModel

from hooks import API_VERSION, ModelSpec, SensoriumError
from hooks.events import HOOK_OF_KIND
from hooks.worker import NoSettings, plugin_manager, resolve
from host.errors import ConfigError
from host.identify import Identity, identify
from host.log import get_logger

GROUP = "sensorium"
EVENT_HOOKS = frozenset(HOOK_OF_KIND.values())
LIGHT = ModelSpec(name="light", device="none", batch=16, keep_alive=60, memory_mb=200)

log = get_logger(__name__)
CheckSettings = Callable[[str, type[BaseModel]], BaseModel]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that can be used."""

    name: str
    version: str
    distribution: str
    module: str
    hooks: frozenset[str]
    settings: dict[str, Any]
    spec: ModelSpec
    has_model: bool
    manager: pluggy.PluginManager = field(repr=False, compare=False)

    @property
    def settings_sha256(self) -> str:
        """Hash of the settings, for provenance."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True, default=str).encode()).hexdigest()

    @property
    def event_hooks(self) -> frozenset[str]:
        """The kinds of events that it works on, as hook names."""
        return self.hooks & EVENT_HOOKS


@dataclass(frozen=True, slots=True)
class Unusable:
    """A plugin that was found and is not used, and why."""

    name: str
    version: str
    distribution: str
    problem: str
    disabled: bool = False


class PluginRegistry:
    """The plugins of this host."""

    def __init__(self, plugins: Iterable[Plugin], unusable: Iterable[Unusable]) -> None:
        self.usable = {plugin.name: plugin for plugin in plugins}
        self.unusable = list(unusable)

    def hooks_of_plugins(self) -> dict[str, frozenset[str]]:
        """Event hooks of each usable plugin, for the routes."""
        return {name: plugin.event_hooks for name, plugin in self.usable.items() if plugin.event_hooks}

    def identify(self, head: bytes, name: str) -> Identity | None:
        """What a content is: by the host's own knowledge, else by the first plugin that knows."""
        found = identify(head, name)
        if found is not None:
            return found
        for plugin in self.usable.values():
            if "identify" in plugin.hooks:
                try:
                    found = plugin.manager.hook.identify(head=head, name=name)
                except Exception as error:  # the plugin boundary
                    log.warning("plugin failed to identify", plugin=plugin.name, error=repr(error))
                if found is not None:
                    return found
        return None

    def embedders(self) -> list[Plugin]:
        """The plugins that can turn a search text into a vector."""
        return [plugin for plugin in self.usable.values() if "embed_query" in plugin.hooks]


def find_plugins(configured: dict[str, dict[str, Any]], check_settings: CheckSettings) -> PluginRegistry:
    """Import what is installed. Raises ConfigError for settings that do not fit, or that no plugin has."""
    usable: list[Plugin] = []
    unusable: list[Unusable] = []
    points = {point.name: point for point in metadata.entry_points(group=GROUP)}
    for name, point in sorted(points.items()):
        found = _open(point, configured.get(name, {}), check_settings)
        if isinstance(found, Plugin):
            usable.append(found)
        else:
            unusable.append(found)
            if not found.disabled:
                log.warning("plugin not used", plugin=name, reason=found.problem)
    return PluginRegistry(usable, unusable)


def _open(point: metadata.EntryPoint, table: dict[str, Any], check_settings: CheckSettings) -> Plugin | Unusable:
    distribution = point.dist.name if point.dist else ""
    version = point.dist.version if point.dist else ""
    if table.get("enabled", True) is False:
        return Unusable(point.name, version, distribution, "switched off in the configuration", disabled=True)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # what a plugin prints must not break `--json`
            return _describe(point, distribution, version, check_settings)
    except ConfigError:
        raise
    except SensoriumError as error:
        return Unusable(point.name, version, distribution, str(error))
    except Exception as error:  # the plugin boundary: a plugin that cannot be imported is listed, not fatal
        return Unusable(point.name, version, distribution, f"it failed to import: {type(error).__name__}: {error}")


def _describe(point: metadata.EntryPoint, distribution: str, version: str, check_settings: CheckSettings) -> Plugin | Unusable:
    plugin = resolve(point.value)
    api = getattr(plugin, "api", API_VERSION)
    if api != API_VERSION:
        problem = f"it is made for hook API {api}; this host speaks {API_VERSION}. Install a version that fits."
        return Unusable(point.name, version, distribution, problem)
    manager = plugin_manager()
    manager.register(plugin, name=point.name)
    hooks = frozenset(caller.name for caller in manager.get_hookcallers(plugin) or () if caller.get_hookimpls())
    unknown = sorted(_unknown_hooks(manager, plugin))
    if unknown:
        problem = f"it implements {', '.join(unknown)}, which hook API {API_VERSION} does not have."
        return Unusable(point.name, version, distribution, problem)
    settings = check_settings(point.name, manager.hook.settings_class() or NoSettings)
    spec = manager.hook.model_spec(settings=settings) if "model_spec" in hooks else None
    if spec is not None and not isinstance(spec, ModelSpec):
        return Unusable(point.name, version, distribution, f"model_spec returned {type(spec).__name__}, not a ModelSpec.")
    return Plugin(
        name=point.name,
        version=version,
        distribution=distribution,
        module=point.value,
        hooks=hooks,
        settings=settings.model_dump(mode="json"),
        spec=spec or LIGHT.model_copy(update={"name": point.name}),
        has_model=spec is not None and spec.device != "none",
        manager=manager,
    )


def _unknown_hooks(manager: pluggy.PluginManager, plugin: Any) -> set[str]:
    return {caller.name for caller in manager.get_hookcallers(plugin) or () if caller.spec is None}

