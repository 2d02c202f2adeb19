"""The same three models on a GPU, where there is one: memory by NVML. Where there is none it says so."""

from __future__ import annotations

from host.leasing.nvml import open_nvml
from tools.bench.cpu_leases import report
from tools.bench.intake import workplace
from tools.bench.leases_at_work import Size, Workplace, run
from tools.bench.report import Report

SMALLEST, LARGEST = 500, 2000  # MB of weights: a sixth of the GPU, within these
CONTEXT_MB = 700  # what CUDA and PyTorch take beside the weights


def gpu_leases() -> Report:
    """Jobs that finish, memory within the budget, memory that is back, and what a cold load costs."""
    driver = open_nvml()
    gpus = driver.gpus() if driver is not None else []
    if driver is None or not gpus:
        note = "No GPU that a driver reports: nothing was measured. Run it on a machine that has one."
        return Report("gpu_leases", "Three models on a GPU that holds two", notes=[note])
    gpu = gpus[0]
    weights = int(min(LARGEST, max(SMALLEST, gpu.total_mb / 6)))
    before = driver.used_mb(gpu) or 0.0
    footprint = weights + CONTEXT_MB
    budget = int(2.5 * footprint)
    reserve = int(gpu.total_mb - budget)
    size = Size(weights, 4096, budget, footprint, jobs=200, loads=5, threads=4, reserve_mb=reserve, uuid=gpu.uuid)
    with workplace() as folder:
        outcome = run(Workplace(folder, size), memory=lambda process: (driver.used_mb(gpu) or 0.0) - before, spares=1)
    found = report("gpu_leases", gpu.name, size, outcome, own_mb=64)
    found.notes.append(f"Memory by NVML, beside the {before:.0f} MB that were in use before.")
    return found
