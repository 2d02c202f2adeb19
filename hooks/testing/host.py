"""A whole host in a temporary folder, as a process of its own, with the plugins that a test chooses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from hooks.errors import SensoriumError
from hooks.events import Event
from hooks.hookspecs import PROJECT
from hooks.testing.references import find

SOME_WORK_FAILED = 6  # the exit code; the sidecars say what


class HostFailed(SensoriumError):
    """The host ended with an error, which is in `hint`."""


class TemporaryHost:
    """An inbox, an outbox and a configuration in `folder`; the host lives while `run` or `command` does.

    Only the plugins that were named with `use` are switched on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self.outbox = folder / "outbox"
        self.site = folder / "site"
        self.paths: list[str] = []
        self.plugins: dict[str, dict[str, Any]] = {}
        for made in (self.inbox, self.site):
            made.mkdir(parents=True, exist_ok=True)

    def use(self, plugin: str | Path | ModuleType, **settings: Any) -> None:
        """Switch on a plugin, with these settings; one that is not installed is made known to this host alone."""
        reference = find(plugin)
        if reference.name not in _installed():
            info = self.site / f"tried_{reference.name.replace('-', '_')}-0.dist-info"
            info.mkdir(exist_ok=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tried-{reference.name}\nVersion: 0\n")
            (info / "entry_points.txt").write_text(f"[{PROJECT}]\n{reference.name} = {reference.module}\n")
        self.paths += map(str, reference.paths)
        self.plugins[reference.name] = settings

    def drop(self, file: str | Path | Event, name: str = "") -> Path:
        """Put a copy of a file, or of an event's, into the inbox."""
        source = file.path if isinstance(file, Event) else Path(file)
        target = self.inbox / (name or source.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return target

    def run(self, patience: float = 600) -> dict[str, dict[str, Any]]:
        """Let the host work off all that is in the inbox; the sidecars by the files' names in it.

        Raises HostFailed with the host's last words when it ends with an error; a failed job is none, see `failures`.
        """
        ended = self.command("run", "--once", patience=patience)
        if ended.returncode not in (0, SOME_WORK_FAILED):
            raise HostFailed(f"The host ended with exit code {ended.returncode}.", ended.stderr[-3000:])
        return self.sidecars()

    def sidecars(self) -> dict[str, dict[str, Any]]:
        """What lies in the outbox, by the files' names in the inbox."""
        found = {}
        for path in sorted(self.outbox.rglob("*.json")):
            shape = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(shape, dict) and {"event", "results"} <= shape.keys():
                found[str(path.relative_to(self.outbox)).removesuffix(".json")] = shape
        return found

    def command(self, *words: str, patience: float = 600) -> subprocess.CompletedProcess[str]:
        """Run a command of `sensorium` on this host: `host.command("why", "cat.png").stdout`."""
        config = self.folder / "config.toml"
        config.write_text("\n".join(self._configuration()) + "\n", encoding="utf-8")
        path = [*self.paths, str(self.site), *(one or os.getcwd() for one in sys.path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}
        return subprocess.run(
            [sys.executable, "-m", "host", *words, "--config", str(config)],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=patience,
        )

    def _configuration(self) -> list[str]:
        off = {name: {"enabled": False} for name in _installed()}
        lines = ["[[inbox]]", 'path = "inbox"', "quiet = 0.05"]
        for name, table in {**off, **self.plugins}.items():
            lines += [f"[plugins.{json.dumps(name)}]", *(f"{key} = {_toml(value)}" for key, value in table.items())]
        return lines


def _installed() -> set[str]:
    return {point.name for point in metadata.entry_points(group=PROJECT)}


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
