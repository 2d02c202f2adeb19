"""Three models under a budget that holds two: all work is done, and memory is what was promised, all the time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import psutil

from host import processes
from tests.end_to_end.host_process import Place, host, until
from tests.plugin_kit import install_plugin

NAMES = ("ash", "birch", "cedar")
WEIGHTS_MB, DECLARED_MB, BUDGET_MB = 64, 130, 330
JOBS = 36

# Weights that are read from a file, as a model's are; what it says of a text depends on all of them.
MODEL = """
import hashlib
from pathlib import Path
from pydantic import BaseModel
from hooks import Caption, ModelSpec, hookimpl

class Settings(BaseModel):
    weights: Path

@hookimpl
def settings_class(): return Settings

@hookimpl
def model_spec(settings):
    spec = {"device": "cpu", "memory_mb": DECLARED, "batch": 4, "keep_alive": 1.5, "imports": ("numpy",)}
    return ModelSpec(name=settings.weights.name, files=(settings.weights,), **spec)

@hookimpl
def load(settings):
    import numpy
    return numpy.fromfile(settings.weights, dtype=numpy.uint8)

@hookimpl
def on_text(events, model):
    for event in events:
        yield event.result(Caption(text=str(int(model[:: 1 + len(event.open().read())].sum()))))
"""


class Forest(Place):
    """A host with three models, each for the texts of its own folder."""

    spares = False

    def config(self) -> dict[str, Any]:
        off = {name: {"enabled": False} for name in ("clip", "metadata")}
        trees = {name: {"weights": str(self.root / name), "warm_spare": self.spares} for name in NAMES}
        return {
            **super().config(),
            "devices": {"use_gpu": False, "cpu_memory_mb": BUDGET_MB, "threads": 1},
            "plugins": {**off, **trees},
            "route": [{"plugin": name, "folders": [name]} for name in NAMES],
        }

    def plant(self) -> None:
        for number, name in enumerate(NAMES):
            (self.root / name).write_bytes(bytes([number + 1]) * (WEIGHTS_MB * 1024 * 1024))
            install_plugin(self.site, name, MODEL.replace("DECLARED", str(DECLARED_MB)))

    def put(self, number: int) -> Path:
        """A text, and where its sidecar will be."""
        path = self.inbox / NAMES[number % 3] / f"{number}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("x" * (number + 1))
        return self.outbox / path.parent.name / f"{number}.txt.json"

    def residents(self) -> int:
        return self.count("residencies WHERE gone IS NULL")


def workers_mb(process: psutil.Process) -> float:
    return sum(processes.memory_mb(child.pid) for child in process.children(recursive=True))


def test_mixed_jobs_finish_within_the_budget_and_all_memory_comes_back(tmp_path):
    forest = Forest(tmp_path)
    forest.plant()
    with host(forest) as running:
        process, peak = psutil.Process(running.pid), 0.0
        sidecars = [forest.put(number) for number in range(JOBS)]
        deadline = time.monotonic() + 200
        while not all(sidecar.exists() for sidecar in sidecars):
            peak = max(peak, workers_mb(process))
            assert time.monotonic() < deadline, "it does not get on"
            time.sleep(0.02)
        until(lambda: forest.residents() == 0, limit=200)
        assert not process.children()
    assert WEIGHTS_MB < peak <= BUDGET_MB * 1.05
    assert forest.count("residencies") >= 3, "each model was loaded"
    learned = {row["plugin"]: row["memory_mb"] for row in forest.rows("SELECT plugin, memory_mb FROM costs")}
    assert all(WEIGHTS_MB < learned[name] < DECLARED_MB for name in NAMES)


def test_warm_spares_count_in_the_budget_as_well(tmp_path):
    forest = Forest(tmp_path)
    forest.spares = True
    forest.plant()
    with host(forest) as running:
        process, peak = psutil.Process(running.pid), 0.0
        until(lambda: len(process.children()) == 3, limit=200)
        sidecars = [forest.put(number) for number in range(JOBS)]
        deadline = time.monotonic() + 200
        while not all(sidecar.exists() for sidecar in sidecars):
            peak = max(peak, workers_mb(process))
            assert time.monotonic() < deadline, "it does not get on"
            time.sleep(0.02)
        until(lambda: forest.residents() == 0, limit=200)
        until(lambda: len(process.children()) == 3, limit=200)
        assert workers_mb(process) < 3 * WEIGHTS_MB, "spares hold no weights"
    assert WEIGHTS_MB < peak <= BUDGET_MB * 1.05
