"""Which plugins there are, which can be used, and what each needs.

Plugins come by the entry-point group `sensorium`, ours as anybody's. One that cannot be imported, or is made for
another hook API, is listed with its reason, and the host runs on.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import signal
import threading
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import metadata
from typing import Any

import pluggy
from pydantic import BaseModel, ValidationError

from hooks import API_VERSION, InvalidPlugin, KnownModel, ModelSpec, SensoriumError, Source, Variant
from hooks.api import CURRENT, accepts
from hooks.describe import GROUP
from hooks.events import FINISH, KINDS, TELL, hook_of
from hooks.worker import NoSettings, plugin_manager, register, resolve, settings_of
from host.config.models import OTHER_SOURCES, PluginUse, use_of
from host.errors import ConfigError
from host.identify import Identity, identify
from host.isolation import Home, Isolated, stand_in
from host.log import get_logger

EVENT_HOOKS = frozenset((*map(hook_of, KINDS), FINISH))
NAME_OF_SOURCES = re.compile(r"[A-Za-z0-9_-]{1,64}")  # folders of the outbox are called by it
SPOKEN = ".".join(map(str, CURRENT))
# What is as good as unknown: a plugin may know which text, JSON or table it is.
VAGUE = frozenset({"text/plain", "application/json", "text/csv"})
OPEN_LIMIT = 30.0  # seconds in which a plugin must be imported and say what it needs
DISABLED = "switched off by `sensorium plugin disable`"
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
    warm_spare: bool = False
    is_isolated: bool = False
    tasks: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    sources: tuple[Source, ...] = ()
    by_route: bool = False

    def settings_for(self, variant: Variant | None) -> dict[str, Any]:
        """The settings, with the changes that a variant of the model makes."""
        return {**self.settings, **(variant.settings if variant else {})}

    @property
    def event_hooks(self) -> frozenset[str]:
        """What it does with events, as hook names: of the kinds that it works on, or `on_finished` alone."""
        return self.hooks & (EVENT_HOOKS | set(map(hook_of, self.kinds)))


def settings_sha256(settings: dict[str, Any]) -> str:
    """Hash of settings, for provenance."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Unusable:
    """A plugin that was found and is not used, and why."""

    name: str
    version: str
    distribution: str
    problem: str
    disabled: bool = False
    api: str = str(API_VERSION)
    is_isolated: bool = False


class PluginRegistry:
    """The plugins of this host."""

    def __init__(self, plugins: Iterable[Plugin], unusable: Iterable[Unusable]) -> None:
        self.usable = {plugin.name: plugin for plugin in plugins}
        self.unusable = list(unusable)
        brought = (kind for plugin in self.usable.values() for kind in plugin.kinds)
        self.kinds = tuple(dict.fromkeys((*KINDS, *brought)))

    def hooks_of_plugins(self) -> dict[str, frozenset[str]]:
        """Event hooks of each usable plugin, for the routes."""
        return {name: plugin.event_hooks for name, plugin in self.usable.items() if plugin.event_hooks}

    def reads_of_plugins(self) -> dict[str, tuple[str, ...]]:
        """Types of results whose text a plugin reads, unless a route says otherwise."""
        return {name: plugin.reads for name, plugin in self.usable.items() if plugin.reads}

    def media_types_of_plugins(self) -> dict[str, tuple[str, ...]]:
        """The patterns of those that take some media types alone, for the routes."""
        return {name: plugin.media_types for name, plugin in self.usable.items() if plugin.media_types}

    def identify(self, head: bytes, name: str) -> Identity | None:
        """What a content is: by the host's own knowledge, where that is vague by the first plugin that knows."""
        known = identify(head, name)
        if known is not None and known[1] not in VAGUE:
            return known
        for plugin in self.usable.values():
            if "identify" in plugin.hooks:
                found = _identity(plugin, head, name, self.kinds)
                if found is not None:
                    return found
        return known

    def known_models(self) -> dict[str, list[KnownModel]]:
        """The models that plugins could run, by plugin; one that fails to say knows none."""
        return {name: _known_models(plugin) for name, plugin in self.usable.items() if "known_models" in plugin.hooks}

    def speakers(self) -> list[Plugin]:
        """The plugins that can speak a text."""
        return [plugin for plugin in self.usable.values() if "voices" in plugin.hooks]

    def embedders(self) -> list[Plugin]:
        """The plugins that can turn a search text into a vector."""
        return [plugin for plugin in self.usable.values() if "embed_query" in plugin.hooks]

    @property
    def installed(self) -> list[str]:
        """The names of all plugins, also of those that cannot be used now."""
        return [*self.usable, *(one.name for one in self.unusable)]

    def sinks(self) -> list[str]:
        """The plugins that are told of what is finished."""
        return [name for name, plugin in self.usable.items() if TELL in plugin.hooks]

    def performer(self, task: str) -> Plugin | None:
        """The plugin that performs a task; the first by name of several."""
        return next((plugin for plugin in self.usable.values() if task in plugin.tasks), None)


def _tasks(said: Collection[str]) -> dict[str, str]:
    """What a plugin performs, with a sentence about it where it has one."""
    return {name: str(said[name]) if isinstance(said, Mapping) else "" for name in said}


def _known_models(plugin: Plugin) -> list[KnownModel]:
    try:
        settings = settings_of(plugin.manager, plugin.settings)
        return [one for one in plugin.manager.hook.known_models(settings=settings) if isinstance(one, KnownModel)]
    except Exception as error:  # noqa: BLE001 - the plugin boundary
        log.warning("plugin failed to say which models it knows", plugin=plugin.name, error=repr(error))
        return []


def _identity(plugin: Plugin, head: bytes, name: str, kinds: tuple[str, ...]) -> Identity | None:
    try:
        found = plugin.manager.hook.identify(head=head, name=name)
    except Exception as error:  # noqa: BLE001 - the plugin boundary
        log.warning("plugin failed to identify", plugin=plugin.name, error=repr(error))
        return None
    if found is None:
        return None
    match found:
        case (str(kind), str(media_type)) if kind in kinds:
            return kind, media_type
    log.warning("plugin identified something unknown", plugin=plugin.name, said=repr(found)[:200])
    return None


def entry_points(isolated: Isolated | None = None) -> list[metadata.EntryPoint]:
    """Every plugin that is installed, by name; those with an environment of their own among them."""
    found = [*metadata.entry_points(group=GROUP), *(isolated.entry_points() if isolated else ())]
    return sorted(found, key=lambda point: (point.name, _distribution(point)))


def opened(point: metadata.EntryPoint, table: dict[str, Any], isolated: Isolated | None = None) -> Any:
    """The module or object that a plugin is, or what stands in for it. Raises whatever it raises."""
    home = isolated.home_of(point) if isolated else None
    own = {key: value for key, value in table.items() if key not in PluginUse.model_fields}
    return resolve(point.value) if home is None else stand_in(home.describe(point.name, own))


def find_plugins(
    configured: dict[str, dict[str, Any]],
    check_settings: CheckSettings,
    disabled: Container[str] = (),
    isolated: Isolated | None = None,
) -> PluginRegistry:
    """Import what is installed. Raises ConfigError for settings that do not fit the plugin's own class.

    `disabled` are plugins that somebody switched off, `isolated` those with an environment of their own.
    """
    usable: dict[str, Plugin] = {}
    unusable: list[Unusable] = []
    found: Plugin | Unusable
    for point in entry_points(isolated):
        open_it = partial(opened, point, configured.get(point.name, {}), isolated)
        if point.name in disabled:
            found = _unusable(point, f"{DISABLED}: `sensorium plugin enable {point.name}`", disabled=True)
        else:
            found = _open(point, configured.get(point.name), check_settings, open_it)
            home = isolated.home_of(point) if isolated else None
            if home is not None:
                found = _in_its_environment(found, home)
        if point.name in usable and isinstance(found, Plugin):
            other = usable[point.name].distribution
            found = _unusable(point, f"{other} has a plugin of that name, which is used. Uninstall one of them.")
        if isinstance(found, Plugin):
            usable[point.name] = found
        else:
            unusable.append(found)
            if not found.disabled:
                log.warning("plugin not used", plugin=point.name, reason=found.problem)
    return PluginRegistry(usable.values(), unusable)


def _in_its_environment(found: Plugin | Unusable, home: Home) -> Plugin | Unusable:
    if isinstance(found, Unusable):
        return replace(found, is_isolated=True)
    return replace(found, is_isolated=True, spec=found.spec.model_copy(update={"python": home.python}))


def _open(
    point: metadata.EntryPoint,
    table: dict[str, Any] | None,
    check_settings: CheckSettings,
    open_it: Callable[[], Any],
) -> Plugin | Unusable:
    use = use_of(table or {})
    if not use.enabled:
        return _unusable(point, "switched off in the configuration", disabled=True)
    try:
        # What a plugin prints must not break `--json`.
        with contextlib.redirect_stdout(_Nowhere()), _limited(OPEN_LIMIT):
            return _describe(point, open_it(), use, check_settings, is_configured=table is not None)
    except ConfigError:
        raise
    except SensoriumError as error:
        return _unusable(point, str(error))
    except ImportError as error:
        return _unusable(point, f"it cannot be imported: {error}. Install what it needs.")
    except _TookTooLong:
        return _unusable(point, f"it did not start within {OPEN_LIMIT:g} s. Imports and `model_spec` must be quick.")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the plugin boundary: it is listed, and the host runs on
        return _unusable(point, f"it failed to start: {type(error).__name__}: {error}")


class _Nowhere(io.TextIOBase):
    """Takes any amount of text."""

    def write(self, text: str) -> int:
        return len(text)


class _TookTooLong(BaseException):
    """Not an Exception: a plugin that waits in a loop of its own attempts must not swallow it."""


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Break off what takes longer, where this is the main thread, unless it is within C code that never returns."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: Any) -> None:
        raise _TookTooLong

    before, began = signal.signal(signal.SIGALRM, ring), time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        rest = max(0.001, left - (time.monotonic() - began)) if left else 0.0  # somebody else's alarm still rings
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, rest, interval)


def _unusable(point: metadata.EntryPoint, problem: str, **more: Any) -> Unusable:
    return Unusable(point.name, _version(point), _distribution(point), problem, **more)


def _distribution(point: metadata.EntryPoint) -> str:
    return _named(point.dist)[0] if point.dist else ""


def _version(point: metadata.EntryPoint) -> str:
    return _named(point.dist)[1] if point.dist else ""


@cache
def _named(distribution: metadata.Distribution) -> tuple[str, str]:
    """Name and version, which are parsed each time that they are asked for."""
    facts = distribution.metadata
    return facts["Name"], facts["Version"]


def _describe(
    point: metadata.EntryPoint, plugin: Any, use: PluginUse, check_settings: CheckSettings, *, is_configured: bool
) -> Plugin | Unusable:
    api = getattr(plugin, "api", API_VERSION)
    if not accepts(api):
        problem = f"it is made for hook API {api}; this host speaks {SPOKEN}. Install a version that fits."
        return _unusable(point, problem, api=str(api))
    if getattr(plugin, "optional", False) and not is_configured:
        return _unusable(point, f"off as long as there is no [plugins.{point.name}]", disabled=True)
    manager = plugin_manager()
    classes = register(manager, plugin, point.name)
    hooks = frozenset(caller.name for caller in manager.get_hookcallers(plugin) or () if caller.get_hookimpls())
    unknown = sorted(_unknown_hooks(manager, plugin))
    if unknown:
        return _unusable(point, f"it implements {', '.join(unknown)}, which hook API {SPOKEN} does not have.")
    event_hooks = hooks & (EVENT_HOOKS | {cls.hook for cls in classes})
    if FINISH in hooks and len(event_hooks) > 1:
        others = ", ".join(sorted(event_hooks - {FINISH}))
        return _unusable(point, f"it implements {FINISH} beside {others}. Make two plugins of it, each with its name.")
    settings = check_settings(point.name, settings_class_of(manager, point.name))
    spec = manager.hook.model_spec(settings=settings) if "model_spec" in hooks else None
    if spec is not None and not isinstance(spec, ModelSpec):
        return _unusable(point, f"model_spec returned {type(spec).__name__}, not a ModelSpec.")
    sources = _sources(manager, point.name, hooks, settings)
    if (sources or TELL in hooks) and spec is not None and spec.device != "none":
        what = TELL if TELL in hooks else "read_source"
        return _unusable(point, f"it implements {what}, which has no lease, beside a model. Make two plugins of it.")
    for variant in spec.variants if spec else ():
        try:
            type(settings).model_validate({**settings.model_dump(mode="json"), **variant.settings})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            return _unusable(point, f"the settings of its variant {variant.name!r} are wrong: {where}: {first['msg']}.")
    return Plugin(
        name=point.name,
        version=_version(point),
        distribution=_distribution(point),
        module=point.value,
        hooks=hooks,
        settings=settings.model_dump(mode="json"),
        spec=spec.model_copy(update=use.spec_changes()) if spec else LIGHT.model_copy(update={"name": point.name}),
        has_model=spec is not None and spec.device != "none",
        warm_spare=use.warm_spare,
        sources=sources,
        kinds=tuple(hook.removeprefix("on_") for hook in (cls.hook for cls in classes)),
        media_types=tuple(getattr(plugin, "media_types", ())),
        reads=tuple(getattr(plugin, "reads", ())),
        by_route=bool(getattr(plugin, "by_route", False)),
        manager=manager,
        tasks=_tasks(manager.hook.performs(settings=settings)) if "performs" in hooks else {},
    )


def _sources(
    manager: pluggy.PluginManager, name: str, hooks: Collection[str], settings: BaseModel
) -> tuple[Source, ...]:
    """The places that a plugin reads. Raises InvalidPlugin."""
    if not {"register_sources", "read_source"} & set(hooks):
        return ()
    if not {"register_sources", "read_source"} <= set(hooks):
        raise InvalidPlugin("it implements one of register_sources and read_source.", "A source needs both.")
    if not NAME_OF_SOURCES.fullmatch(name) or name in OTHER_SOURCES:
        raise InvalidPlugin(f"no source can be called {name!r}.", "Give the entry point another name.")
    sources = manager.hook.register_sources(settings=settings)
    if not (isinstance(sources, list) and all(isinstance(source, Source) for source in sources)):
        raise InvalidPlugin(f"register_sources returned {sources!r:.200}.", "Return a list of Source(...).")
    if len({source.name for source in sources}) < len(sources):
        raise InvalidPlugin("two of its sources have the same name.")
    return tuple(sources)


def settings_class_of(manager: pluggy.PluginManager, name: str) -> type[BaseModel]:
    """The class of the one plugin that is registered. Raises InvalidPlugin when it is none of pydantic's."""
    found = manager.hook.settings_class() or NoSettings
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise InvalidPlugin(f"settings_class of {name} returned {found!r}, not a class of pydantic.")
    return found


def _unknown_hooks(manager: pluggy.PluginManager, plugin: Any) -> set[str]:
    return {caller.name for caller in manager.get_hookcallers(plugin) or () if caller.spec is None}
