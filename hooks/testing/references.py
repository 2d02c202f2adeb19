"""How a plugin is named in tests and on the command line, and what is known of it before a worker has it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
from pydantic import BaseModel

from hooks.errors import InvalidPlugin
from hooks.events import FINISH, KINDS, hook_of
from hooks.hookspecs import PROJECT
from hooks.model import ModelSpec
from hooks.worker import plugin_manager, register, resolve, settings_of

LIGHT = {"device": "none", "batch": 16, "keep_alive": 60, "memory_mb": 200}  # as the host has it


@dataclass(frozen=True)
class Reference:
    """A plugin that is not imported yet: `module` as an entry point says it, `paths` to be put on `sys.path` for it."""

    name: str
    module: str
    paths: tuple[Path, ...] = ()

    def opened(self) -> Any:
        """The module or object itself; its folders stay on this process's path, since it may import more later."""
        for path in reversed(self.paths):
            sys.path[:] = [str(path), *(one for one in sys.path if one != str(path))]
        importlib.invalidate_caches()
        self._forget_namesakes()
        return resolve(self.module)

    def _forget_namesakes(self) -> None:
        """Another folder's module of the same name, imported earlier, is not the one that is meant."""
        top = self.module.partition(":")[0].partition(".")[0]
        file = getattr(sys.modules.get(top), "__file__", None)
        if self.paths and file and not any(Path(file).is_relative_to(path) for path in self.paths):
            for name in [name for name in sys.modules if name.partition(".")[0] == top]:
                del sys.modules[name]

    def python_path(self) -> str:
        """PYTHONPATH for a process that shall find the plugin, and all else, where this one finds it."""
        return os.pathsep.join(dict.fromkeys([*map(str, self.paths), *(path or os.getcwd() for path in sys.path)]))


@dataclass(frozen=True)
class Opened:
    """A plugin in this process, with checked settings and its spec."""

    reference: Reference
    manager: pluggy.PluginManager
    settings: BaseModel
    spec: ModelSpec
    hooks: frozenset[str]
    kinds: tuple[str, ...]
    media_types: tuple[str, ...]

    @property
    def event_hooks(self) -> frozenset[str]:
        """What it does with events: hooks of the kinds that it works on, or `on_finished` alone."""
        return self.hooks & {FINISH, *map(hook_of, (*KINDS, *self.kinds))}

    @property
    def values(self) -> dict[str, Any]:
        """The settings as a worker gets them."""
        return self.settings.model_dump(mode="json")


def find(plugin: str | Path | ModuleType) -> Reference:
    """What is meant: a module, its name, the name of an installed plugin, a file, or a folder with a pyproject.toml.

    Raises InvalidPlugin when there is no such thing.
    """
    if isinstance(plugin, ModuleType):
        place = _place(plugin.__name__, getattr(plugin, "__file__", None))
        return Reference(_name_of(plugin.__name__), plugin.__name__, place)
    if isinstance(plugin, Path) or os.sep in plugin or plugin.endswith(".py"):
        return _at(Path(plugin).absolute())
    for point in metadata.entry_points(group=PROJECT):
        if point.name == plugin:
            return Reference(plugin, point.value)
    module = plugin.partition(":")[0]
    if module not in sys.modules and not _is_importable(module):
        if Path(plugin).is_dir():
            return _at(Path(plugin).absolute())
        raise InvalidPlugin(
            f"There is no plugin and no module {plugin}.",
            "Name an installed plugin (`sensorium plugins`), a module, a .py file, or a folder with pyproject.toml.",
        )
    return Reference(_name_of(plugin), plugin)


def open_plugin(reference: Reference, settings: Mapping[str, Any] | None = None) -> Opened:
    """Import and register a plugin here, as the host does; what it raises passes through. Raises InvalidPlugin too."""
    manager = plugin_manager()
    plugin = reference.opened()
    classes = register(manager, plugin, reference.name)
    hooks = frozenset(caller.name for caller in manager.get_hookcallers(plugin) or () if caller.get_hookimpls())
    checked = settings_of(manager, dict(settings or {}))
    spec = manager.hook.model_spec(settings=checked) if "model_spec" in hooks else None
    if spec is not None and not isinstance(spec, ModelSpec):
        raise InvalidPlugin(f"model_spec returned {type(spec).__name__}, not a ModelSpec.")
    kinds = tuple(cls.hook.removeprefix("on_") for cls in classes)
    media_types = tuple(getattr(plugin, "media_types", ()))
    return Opened(
        reference, manager, checked, spec or ModelSpec(name=reference.name, **LIGHT), hooks, kinds, media_types
    )


def _name_of(module: str) -> str:
    """The name under which a module is installed as a plugin, else one made of its own."""
    for point in metadata.entry_points(group=PROJECT):
        if point.value == module:
            return point.name
    return module.partition(":")[0].rpartition(".")[2]


def _is_importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _place(name: str, file: str | None) -> tuple[Path, ...]:
    """The folder from which a module of this file is imported by its name."""
    if file is None:
        return ()
    path = Path(file).absolute()
    depth = name.count(".") + (1 if path.name == "__init__.py" else 0)
    return (path.parents[depth],)


def _at(path: Path) -> Reference:
    if path.is_file() and path.suffix == ".py":
        return Reference(path.stem, path.stem, (path.parent,))
    project = path / "pyproject.toml"
    if not project.is_file():
        raise InvalidPlugin(f"{path} is no .py file and no folder with a pyproject.toml.")
    try:
        table = tomllib.loads(project.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidPlugin(f"{project} cannot be read: {error}.") from error
    points = table.get("project", {}).get("entry-points", {}).get(PROJECT, {})
    if len(points) != 1:
        raise InvalidPlugin(
            f"{project} has {len(points) or 'no'} plugins in [project.entry-points.{PROJECT}].",
            "Name one of them when it is installed, or its module.",
        )
    ((name, value),) = points.items()
    return Reference(name, value, tuple(folder for folder in (path / "src", path) if folder.is_dir()))
