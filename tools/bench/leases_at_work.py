"""A real host, three models that do not all fit, mixed jobs: what memory really is, and what a load costs."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from host.processes import memory_mb
from tools.bench.lease_models import NAMES, forget, write_shards

WAVES = 4
LIMIT = 900.0
SAMPLE = 0.1

BARE = """
import os; os.nice(19)
import sys, time
from pathlib import Path
from importlib import import_module
from tools.bench.lease_models import LIBRARIES, build, forget
kind, device, *names = sys.argv[1:]
for library in LIBRARIES[kind]:
    import_module(library)
shards = [Path(name) for name in names]
forget(shards)
began = time.perf_counter()
layers = build(shards, device)
print(time.perf_counter() - began)
"""


@dataclass(frozen=True)
class Size:
    """How large the benchmark is: weights of each model, width of a layer, budget and footprint in MB, jobs, loads."""

    weights_mb: int
    width: int
    budget_mb: int
    footprint_mb: int
    jobs: int
    loads: int
    threads: int = 2
    reserve_mb: int = 0
    uuid: str = ""  # of a GPU; without one, it is about the CPU

    @property
    def device(self) -> str:
        """What the models are for."""
        return "gpu" if self.uuid else "cpu"


@dataclass
class Outcome:
    """What was measured; memory in MB, times in seconds."""

    start_mb: float = 0.0
    peak_mb: float = 0.0
    end_mb: float = 0.0
    loads: int = 0
    unfinished: int = 0
    makespan: float = 0.0
    ours: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    learned: dict[str, float] = field(default_factory=dict)


class Workplace:
    """A folder with a host, its three plugins and their weights."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder, self.size = folder, size
        self.inbox, self.outbox = folder / "inbox", folder / "outbox"
        self.shards = {
            name: write_shards(folder / "weights" / name, size.weights_mb, size.width, seed)
            for seed, name in enumerate(NAMES)
        }
        _install(folder / "site")
        (folder / "config.toml").write_text(_toml(self._devices(), self._plugins()))

    def _devices(self) -> dict[str, Any]:
        if self.size.uuid:
            return {"threads": self.size.threads, "gpu_reserve_mb": self.size.reserve_mb}
        return {"threads": self.size.threads, "use_gpu": False, "cpu_memory_mb": self.size.budget_mb}

    def _plugins(self) -> dict[str, dict[str, Any]]:
        stack = {"memory_mb": self.size.footprint_mb, "device": self.size.device, "warm_spare": True}
        return {name: {**stack, "shards": [str(path) for path in shards]} for name, shards in self.shards.items()}

    def start(self) -> subprocess.Popen[bytes]:
        """The host at work."""
        path = os.pathsep.join([str(self.folder / "site"), os.getcwd()])
        command = [sys.executable, "-m", "host", "run", "--config", str(self.folder / "config.toml")]
        said = (self.folder / "said").open("wb")
        return subprocess.Popen(command, env={**self.environment, "PYTHONPATH": path}, stdout=said, stderr=said)

    @property
    def environment(self) -> dict[str, str]:
        """One GPU alone, and as many threads as a worker has."""
        gpu = {"CUDA_VISIBLE_DEVICES": self.size.uuid} if self.size.uuid else {}
        return {**os.environ, **gpu, "OMP_NUM_THREADS": str(self.size.threads), "OMP_WAIT_POLICY": "PASSIVE"}

    def put(self, name: str, number: int) -> None:
        """A text for a plugin."""
        (self.inbox / name).mkdir(parents=True, exist_ok=True)
        (self.inbox / name / f"{number}.txt").write_text(f"{name} {number}")

    def rows(self, sql: str) -> list[tuple[float, ...]]:
        """What the journal says, read beside the host."""
        with closing(sqlite3.connect(f"file:{self.folder}/data/journal.db?mode=ro", uri=True, timeout=30)) as journal:
            return journal.execute(sql).fetchall()

    def done(self) -> int:
        """How many jobs are done."""
        return int(self.rows("SELECT count(*) FROM jobs WHERE state = 'done'")[0][0])

    def residents(self) -> int:
        """How many models are in memory."""
        return int(self.rows("SELECT count(*) FROM residencies WHERE gone IS NULL")[0][0])


def run(place: Workplace, *, memory: Callable[[psutil.Process], float], spares: int) -> Outcome:
    """Have the jobs done in waves, then time cold loads. `memory` is what the host and its workers hold, in MB."""
    outcome = Outcome()
    host = place.start()
    try:
        process = psutil.Process(host.pid)
        _until(host, lambda: (place.folder / "data" / "control.sock").exists())
        _until(host, lambda: _warm_spares(place) >= spares)
        outcome.start_mb = _still(lambda: memory(process))
        began = time.perf_counter()
        _work(place, host, process, outcome, memory)
        outcome.makespan = time.perf_counter() - began
        outcome.loads = int(place.rows("SELECT count(*) FROM residencies")[0][0])
        _settled(place, host, spares)
        outcome.unfinished = place.size.jobs - len(list(place.outbox.rglob("*.txt.json")))
        outcome.end_mb = _still(lambda: memory(process))
        _cold_loads(place, host, outcome, spares)
        found = place.rows("SELECT plugin, memory_mb FROM costs")
        outcome.learned = {str(name): round(float(mb)) for name, mb in found if mb is not None}
    except RuntimeError as error:
        raise RuntimeError(f"{error} Its last words: {(place.folder / 'said').read_text()[-2000:]}") from error
    finally:
        host.terminate()
        host.wait(60)
    return outcome


def _work(
    place: Workplace,
    host: subprocess.Popen[bytes],
    process: psutil.Process,
    outcome: Outcome,
    memory: Callable[[psutil.Process], float],
) -> None:
    """Put the texts in waves, mixed, and look at the memory until all jobs are done."""
    chance = random.Random(1)
    jobs = [(NAMES[number % len(NAMES)], number) for number in range(place.size.jobs)]
    chance.shuffle(jobs)
    wave = -(-len(jobs) // WAVES)
    for start in range(0, len(jobs), wave):
        for name, number in jobs[start : start + wave]:
            place.put(name, number)
        wanted = min(start + wave, len(jobs)) - wave // 2  # the next wave comes into the middle of this one

        def enough(wanted: int = wanted) -> bool:
            outcome.peak_mb = max(outcome.peak_mb, memory(process))
            return place.done() >= wanted

        _until(host, enough)

    def all_done() -> bool:
        outcome.peak_mb = max(outcome.peak_mb, memory(process))
        return place.done() >= len(jobs)

    _until(host, all_done)


def _cold_loads(place: Workplace, host: subprocess.Popen[bytes], outcome: Outcome, spares: int) -> None:
    """Time the host's loads and the bare ones, one after the other, each with weights that come from the disk."""
    name = NAMES[0]
    for number in range(place.size.jobs, place.size.jobs + place.size.loads):
        outcome.bare.append(_bare_load(place, name))
        forget(place.shards[name])
        before = place.done()
        place.put(name, number)
        _until(host, lambda before=before: place.done() > before)
        _settled(place, host, spares)
        (took,) = place.rows("SELECT loaded - loading FROM residencies ORDER BY loading DESC LIMIT 1")[0]
        outcome.ours.append(took)


def _bare_load(place: Workplace, name: str) -> float:
    """Seconds in which a process that has imported its libraries reads the weights and builds the model."""
    where = "cuda:0" if place.size.uuid else "cpu"
    command = [sys.executable, "-c", BARE, place.size.device, where, *map(str, place.shards[name])]
    bare = subprocess.run(command, env=place.environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(bare.stdout)


def _still(memory: Callable[[], float]) -> float:
    """Memory once it does not change any more: spares have imported, what was freed is back."""
    before, now = -1.0, memory()
    while abs(now - before) > 0.01 * now:
        time.sleep(2)
        before, now = now, memory()
    return now


def _settled(place: Workplace, host: subprocess.Popen[bytes], spares: int) -> None:
    """All models have left, and the spares are there again."""
    _until(host, lambda: place.residents() == 0)
    _until(host, lambda: _warm_spares(place) >= spares)
    _still(lambda: family_mb(psutil.Process(host.pid)))


def _warm_spares(place: Workplace) -> int:
    """Workers beside the resident models."""
    return len(list((place.folder / "data" / "workers").glob("*.json"))) - place.residents()


def _until(host: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        if host.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("The host ended, or does not get on.")
        time.sleep(SAMPLE)


def family_mb(process: psutil.Process) -> float:
    """What a process and all that it started hold of the machine's memory (PSS), in MB."""
    return memory_mb(process.pid) + sum(memory_mb(child.pid) for child in process.children(recursive=True))


def _install(site: Path) -> None:
    """Three distributions' worth of entry points, found on the path as any plugin is."""
    info = site / "lease_models-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lease-models\nVersion: 1.0\n")
    points = "\n".join(f"{name} = tools.bench.lease_models:{name}" for name in NAMES)
    (info / "entry_points.txt").write_text(f"[sensorium]\n{points}\n")


def _toml(devices: dict[str, Any], plugins: dict[str, dict[str, Any]]) -> str:
    lines = ['[paths]\ndata = "data"\noutbox = "outbox"\n[[inbox]]\npath = "inbox"\nquiet = 0.1']
    lines.append("[devices]")
    lines += [f"{key} = {json.dumps(value)}" for key, value in devices.items()]
    for name, settings in plugins.items():
        lines.append(f"[plugins.{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        lines.append(f'[[route]]\nplugin = "{name}"\nfolders = ["{name}"]')
    return "\n".join(lines) + "\n"
