"""Work for the scheduling simulation: models, jobs with release times, and the bound that no scheduler can beat."""

from __future__ import annotations

import random
from dataclasses import dataclass

from host.leasing.policy import Priority

JOBS = 600
LOAD = 0.7
SIZES_GB = (1, 2, 3, 5, 7, 4)
SERVICES = (0.05, 0.4, 1.0, 2.0, 1.5, 0.8)
BUDGET_GB = 8
MEAN_SERVICE = 0.96


@dataclass(frozen=True, slots=True)
class SimModel:
    """A model: memory in MB, seconds to load, seconds for a job."""

    name: str
    memory_mb: int
    load_seconds: float
    service: float


@dataclass(frozen=True, slots=True)
class SimJob:
    """A job: its model, when it comes, and its priority."""

    model: str
    release: float
    priority: Priority = "normal"


@dataclass(frozen=True)
class Trace:
    """Models, jobs by release time, and the devices' budgets in MB."""

    name: str
    models: tuple[SimModel, ...]
    jobs: tuple[SimJob, ...]
    budgets_mb: tuple[int, ...] = (BUDGET_GB * 1024,)

    def bound(self) -> float:
        """No schedule ends sooner: all service and one load of each model; or, after any release, the service left.

        With several devices the work is shared out evenly; but a model is on one of them at a time, so that none ends
        sooner than its own load and service either.
        """
        service = {model.name: model.service for model in self.models}
        load = {model.name: model.load_seconds for model in self.models}
        alone = {name: load[name] for name in {job.model for job in self.jobs}}
        for job in self.jobs:
            alone[job.model] += service[job.model]
        devices = len(self.budgets_mb)
        best, left = max(sum(alone.values()) / devices, *alone.values()), 0.0
        for job in sorted(self.jobs, key=lambda job: -job.release):
            left += service[job.model]
            best = max(best, job.release + left / devices)
        return best


def six_models() -> tuple[SimModel, ...]:
    """22 GB of models for a device of 8 GB; loading takes half a second and half a second for each GB."""
    return tuple(
        SimModel(f"m{number}", size * 1024, size / 2 + 0.5, service)
        for number, (size, service) in enumerate(zip(SIZES_GB, SERVICES, strict=True))
    )


def burst(seed: int, jobs: int = JOBS) -> Trace:
    """All jobs at once, models at random."""
    rng, models = random.Random(seed), six_models()
    return Trace("burst", models, tuple(SimJob(rng.choice(models).name, 0.0) for _ in range(jobs)))


def poisson(seed: int, jobs: int = JOBS) -> Trace:
    """Arrivals that load the device to 0.7 of its service."""
    rng, models = random.Random(seed), six_models()
    span = jobs * MEAN_SERVICE / LOAD
    times = sorted(rng.uniform(0, span) for _ in range(jobs))
    return Trace("poisson", models, tuple(SimJob(rng.choice(models).name, time) for time in times))


def ping_pong(seed: int, jobs: int = JOBS) -> Trace:
    """Two models that exclude each other, their jobs strictly in turn: the worst for whoever serves in order."""
    del seed
    models = (SimModel("a", 6 * 1024, 3.5, 0.5), SimModel("b", 6 * 1024, 3.5, 0.5))
    return Trace("ping-pong", models, tuple(SimJob("ab"[number % 2], number * 0.6) for number in range(jobs)))


def priority_mix(seed: int, jobs: int = JOBS) -> Trace:
    """The Poisson trace: of each twenty jobs one is interactive, and five are background work."""
    trace = poisson(seed, jobs)
    mixed = tuple(SimJob(job.model, job.release, _priority(number)) for number, job in enumerate(trace.jobs))
    return Trace("priorities", trace.models, mixed)


def _priority(number: int) -> Priority:
    if number % 20 == 0:
        return "interactive"
    return "background" if number % 4 == 1 else "normal"


def two_gpus(seed: int, jobs: int = JOBS) -> Trace:
    """The burst on two devices."""
    trace = burst(seed, jobs)
    return Trace("two GPUs", trace.models, trace.jobs, (BUDGET_GB * 1024, BUDGET_GB * 1024))


TRACES = {"burst": burst, "poisson": poisson, "ping-pong": ping_pong, "priorities": priority_mix, "two GPUs": two_gpus}
