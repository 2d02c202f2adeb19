"""What plugins cost a host that has little or nothing to do with them: at its start, and with each arrival."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import distribution
from pathlib import Path
from statistics import median

from tools.bench.intake import workplace
from tools.bench.report import Figure, Report, spread

COUNTS = (10, 100)
STARTS = 5
ARRIVALS = 20_000
FILES = 1000
REPEATS = 3

# As a small plugin is: settings of its own, a model's spec, hooks that take any text.
PLUGIN = '''
"""Says nothing of any text."""
from pydantic import BaseModel, Field
from hooks import ModelSpec, hookimpl

api = ">=1,<2"

class Settings(BaseModel, extra="forbid"):
    """What it may be told."""
    size: int = Field(10, description="How large.")
    words: tuple[str, ...] = Field((), description="Which words.")

@hookimpl
def settings_class(): return Settings

@hookimpl
def model_spec(settings): return ModelSpec(name="small", memory_mb=settings.size, device="cpu")

@hookimpl
def load(): return None

@hookimpl
def on_{kind}(events): return ()
'''

BARE = """
import sys, importlib, pluggy
from importlib import metadata
from hooks import hookspecs
for point in metadata.entry_points(group="sensorium"):
    if point.name.startswith("bench"):
        manager = pluggy.PluginManager("sensorium")
        manager.add_hookspecs(hookspecs)
        manager.register(point.load())
"""

# The decision alone: what an arrival is, who works on it, when, and who is told of it.
DECIDE = """
import json, sys, time
import pluggy
from hooks import hookspecs
from host.config import Config, check_plugin_settings
from host.plugin_manager import find_plugins
from host.routes import Routes

config = Config.model_validate(json.loads(sys.argv[1]))
registry = find_plugins(config.plugins, lambda name, cls: check_plugin_settings(config, name, cls))
types, sinks = registry.media_types_of_plugins(), registry.sinks()
routes = Routes(config.routes, registry.hooks_of_plugins(), (), types, sinks)
manager = pluggy.PluginManager("sensorium")
manager.add_hookspecs(hookspecs)
manager.add_hookspecs(type("All", (), {"all_text": pluggy.HookspecMarker("sensorium")(lambda events: None)}))
for plugin in registry.usable.values():
    body = type("Bare", (), {"all_text": staticmethod(pluggy.HookimplMarker("sensorium")(lambda events: ()))})
    manager.register(body(), name=plugin.name)
arrivals = int(sys.argv[2])

def decide(number):
    kind, media_type = registry.identify(b"some text", f"note{number}.txt")
    about = (kind, media_type, "inbox", f"inbox/note{number}.txt")
    found = [(name, routes.is_background(name, *about)) for name in routes.plugins_for(*about)]
    return found, routes.finishers_for(*about), routes.sinks_for(*about)

chosen = len(decide(0)[0])
began = time.process_time()
for number in range(arrivals):
    decide(number)
ours = time.process_time() - began
began = time.process_time()
for number in range(arrivals):
    manager.hook.all_text(events=[number])
peer = time.process_time() - began
print(json.dumps([chosen, ours / arrivals * 1e6, peer / arrivals * 1e6]))
"""

# A whole host: one plugin has work, the others are only there.
WHOLE = """
import asyncio, gc, json, sys, time
from host.app import open_app
from host.config import Config

async def main():
    config = Config.model_validate(json.loads(sys.argv[1]))
    async with open_app(config) as app:
        gc.collect()
        began = time.process_time()
        summary = await app.run(once=True)
        print(json.dumps([summary.done, time.process_time() - began]))

asyncio.run(main())
"""


def install(site: Path, name: str, kind: str) -> None:
    """A plugin's package, as an installer leaves it."""
    module = f"{name}_plugin"
    info = site / f"{module}-1.0.dist-info"
    info.mkdir(parents=True)
    (site / f"{module}.py").write_text(PLUGIN.replace("{kind}", kind))
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[sensorium]\n{name} = {module}\n")


def site_of(folder: Path, count: int, kind: str) -> dict[str, str]:
    """A folder with so many plugins, and the environment of processes that see them."""
    site = folder / f"site-{kind}-{count}"
    if not site.exists():
        for number in range(count):
            install(site, f"bench{number:03}", kind)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH", ""))))}


def built_in_off() -> dict[str, dict[str, bool]]:
    """The plugins that come with the host, switched off."""
    points = distribution("sensorium").entry_points.select(group="sensorium")
    return {point.name: {"enabled": False} for point in points}


def answer(code: str, environment: dict[str, str], *arguments: str) -> list[float]:
    """What a child says, as JSON in its last line."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def decisions(folder: Path) -> list[Figure]:
    """CPU of the host for deciding about one arrival, which all of the plugins take."""
    figures = []
    for count in COUNTS:
        config = json.dumps({"plugins": built_in_off()})
        found = [answer(DECIDE, site_of(folder, count, "text"), config, str(ARRIVALS)) for _ in range(REPEATS)]
        if any(chosen != count for chosen, _, _ in found):
            raise RuntimeError(f"Of {count} plugins {found} were chosen.")
        ours, peer = ([one[place] for one in found] for place in (1, 2))
        what = f"deciding about an arrival that {count} plugins take"
        bound = 50.0 if count == 10 else 500.0
        figures.append(Figure(what, spread(ours, "µs", 1), spread(peer, "µs", 1), median(ours), bound, False, "µs"))
    return figures


def whole_hosts(folder: Path) -> Figure:
    """CPU of a whole host with 100 plugins that have nothing to do, over that of one without them."""
    ratios, ours, peer = [], [], []
    for repeat in range(REPEATS):
        seconds = []
        for count in (0, 100) if repeat % 2 else (100, 0):
            place = folder / f"whole-{repeat}-{count}"
            (place / "inbox").mkdir(parents=True)
            for number in range(FILES):
                (place / "inbox" / f"{number}.txt").write_text(f"text {number} of {repeat} with {count}")
            config = {
                "paths": {"data": str(place / "data"), "outbox": str(place / "outbox")},
                "inbox": [{"path": str(place / "inbox"), "quiet": 0, "after": "keep"}],
                "plugins": built_in_off(),
            }
            environment = site_of(folder, count, "audio") if count else {**os.environ}
            worker = folder / "worker"
            if not worker.exists():
                install(worker, "works", "text")
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(worker), environment.get("PYTHONPATH", ""))))
            done, took = answer(WHOLE, environment, json.dumps(config))
            if done != FILES:
                raise RuntimeError(f"{done} of {FILES} were done.")
            seconds.append((count, took / FILES * 1e6))
        by_count = dict(seconds)
        ours.append(by_count[100])
        peer.append(by_count[0])
        ratios.append(by_count[100] / by_count[0])
    what = "whole host, CPU for one arrival, 100 plugins beside the one that works"
    return Figure(what, spread(ours, "µs", 0), spread(peer, "µs", 0), median(ratios), 1.15, False)


def starts(folder: Path) -> list[Figure]:
    """`sensorium status` with 100 plugins beside those that come with it, and with these alone."""
    command = [sys.executable, "-m", "host", "status", "--json", "--data", str(folder / "data")]
    # As on any machine, what was compiled once is kept; here, away from the sources.
    kept = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "compiled")}
    many, none = {**site_of(folder, 100, "text"), **kept}, {**os.environ, **kept}
    kinds = {"many": (command, many), "none": (command, none), "bare": ([sys.executable, "-c", BARE], many)}
    walls: dict[str, list[float]] = {kind: [] for kind in kinds}
    works: dict[str, list[float]] = {kind: [] for kind in kinds}
    for repeat in range(STARTS + 1):
        for kind, (line, environment) in kinds.items():
            wall, work = time_start(line, environment)
            if repeat:  # the first one compiles
                walls[kind].append(wall)
                works[kind].append(work)
    added = (median(works["many"]) - median(works["none"])) / 100 * 1000
    title = "`sensorium status` with 100 plugins"
    return [
        Figure(title, spread(walls["many"]), spread(walls["none"]), median(walls["many"]), 1.0, False, "s"),
        Figure(f"{title}, CPU", spread(works["many"]), spread(works["none"]), median(works["many"]), 1.0, False, "s"),
        Figure("CPU that each adds", f"{added:.1f} ms", spread(works["bare"]), added, 5.0, False, "ms"),
    ]


def time_start(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds of a whole command: by the clock, and on a processor."""
    began, before = time.perf_counter(), os.times()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    after = os.times()
    work = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, work


def plugins() -> Report:
    """Start and arrivals with many plugins installed."""
    with workplace() as folder:
        figures = [*starts(folder), *decisions(folder), whole_hosts(folder)]
    notes = [
        "Beside the start: the same without the 100 plugins; beside what each adds: a process that imports and "
        "registers the 100 with bare pluggy. Beside the decisions: one call of a "
        "hook with as many empty implementations. Beside the whole host: the same host without the 100 plugins. By the "
        "clock a start takes as much longer as the machine has other things to do: see the load, and what it "
        "takes of CPU."
    ]
    return Report("plugins", "What installed plugins cost", figures=figures, notes=notes)
