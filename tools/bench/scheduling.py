"""The real policy and the real lease actor on simulated work, beside first come, first served and the lower bound."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field

from hooks.model import Device, ModelSpec
from host.leasing.leases import Leases
from host.leasing.policy import Priority
from tools.bench.report import Figure, Report
from tools.bench.simulated_time import simulate
from tools.bench.traces import TRACES, SimJob, SimModel, Trace

SEEDS = (1, 2, 3)
MOST = {"burst": 1.06, "poisson": 1.05, "ping-pong": 1.06, "priorities": 1.06, "two GPUs": 1.25}  # over the bound


@dataclass
class Outcome:
    """What a schedule came to: when it ended, how long each job waited for its end, and how many loads it took."""

    makespan: float = 0.0
    waits: list[float] = field(default_factory=list)
    urgent_waits: list[float] = field(default_factory=list)
    loads: int = 0

    def finished(self, job: SimJob, now: float) -> None:
        """A job is done."""
        self.makespan = max(self.makespan, now)
        (self.urgent_waits if job.urgent else self.waits).append(now - job.release)

    def p99(self) -> float:
        """The 99th percentile of all waits."""
        waits = sorted(self.waits + self.urgent_waits)
        return waits[int(len(waits) * 0.99)]


class FakeWorkers:
    """leases.Effects in simulated time: loading and serving take what the trace says."""

    def __init__(self, trace: Trace, leases: Leases) -> None:
        self.outcome = Outcome()
        self.left = len(trace.jobs)
        self._leases = leases
        self._models = {model.name: model for model in trace.models}
        self._queues: dict[str, deque[SimJob]] = {model.name: deque() for model in trace.models}
        self._urgent: dict[str, deque[SimJob]] = {model.name: deque() for model in trace.models}
        self._loop = asyncio.get_running_loop()

    def arrive(self, job: SimJob) -> None:
        """A job comes."""
        (self._urgent if job.urgent else self._queues)[job.model].append(job)
        self._tell(job.model)

    def _tell(self, model: str) -> None:
        queue, urgent = self._queues[model], self._urgent[model]
        oldest = min((jobs[0].release for jobs in (queue, urgent) if jobs), default=self._loop.time())
        self._leases.demand(model, len(queue), len(urgent), self._loop.time() - oldest)

    async def load(self, model: str, device: Device, spec: ModelSpec) -> None:
        self.outcome.loads += 1
        await asyncio.sleep(self._models[model].load_seconds)

    async def run_batch(self, model: str, fence: int, priority: Priority) -> bool:
        jobs = self._urgent[model] if priority == "interactive" else self._queues[model]
        job = jobs.popleft()
        await asyncio.sleep(self._models[model].service)
        self.outcome.finished(job, self._loop.time())
        self.left -= 1
        self._tell(model)
        if not self.left:
            self._leases.close()
        return True

    async def unload(self, model: str) -> None:
        return None

    async def refuse(self, model: str, reason: str) -> None:
        raise RuntimeError(reason)

    def peak_mb(self, model: str) -> float | None:
        return None


async def ours(trace: Trace) -> Outcome:
    """The trace by the real lease actor."""
    loop = asyncio.get_running_loop()
    budgets = enumerate(trace.budgets_mb)
    gpus = [Device(name=f"gpu{index}", kind="gpu", memory_mb=budget, index=index) for index, budget in budgets]
    cpu = Device(name="cpu", kind="cpu", memory_mb=0)
    leases = Leases([cpu, *gpus], loop.time)
    for model in trace.models:
        leases.add(model.name, ModelSpec(name=model.name, memory_mb=model.memory_mb, device="gpu", keep_alive=1e9))
    workers = FakeWorkers(trace, leases)
    for job in trace.jobs:
        loop.call_at(job.release, workers.arrive, job)
    await leases.run(workers)
    return workers.outcome


def in_order(trace: Trace, *, keep: bool) -> Outcome:
    """First come, first served on one device: one model at a time, or (`keep`) as many as fit, LRU evicted."""
    outcome, now = Outcome(), 0.0
    models = {model.name: model for model in trace.models}
    resident: list[SimModel] = []
    for job in sorted(trace.jobs, key=lambda job: job.release):
        model = models[job.model]
        now = max(now, job.release)
        if model in resident:
            resident.remove(model)
        else:
            room = trace.budgets_mb[0] - model.memory_mb if keep else 0
            while sum(other.memory_mb for other in resident) > room:
                resident.pop(0)
            now += model.load_seconds
            outcome.loads += 1
        resident.append(model)
        now += model.service
        outcome.finished(job, now)
    return outcome


def scheduling() -> Report:
    """Makespan over the lower bound, and waits beside those of first come, first served."""
    figures, lost = [], 0
    for name, make in TRACES.items():
        traces = [make(seed) for seed in SEEDS]
        outcomes = [simulate(lambda trace=trace: ours(trace)) for trace in traces]  # type: ignore[misc]
        lost += sum(len(t.jobs) - len(o.waits) - len(o.urgent_waits) for t, o in zip(traces, outcomes, strict=True))
        figures += _figures(name, traces, outcomes)
    notes = [f"Seeds {SEEDS}, the worst one judged. Simulated time; the policy and the lease actor are the real ones."]
    return Report("scheduling", "600 jobs for 22 GB of models on devices of 8 GB", lost, 0, figures, notes)


def _figures(name: str, traces: list[Trace], outcomes: list[Outcome]) -> list[Figure]:
    bounds = [trace.bound() for trace in traces]
    worst = max(outcome.makespan / bound for outcome, bound in zip(outcomes, bounds, strict=True))
    fifo = [in_order(trace, keep=False) for trace in traces]
    lru = [in_order(trace, keep=True) for trace in traces]
    over = [max(o.makespan / b for o, b in zip(side, bounds, strict=True)) for side in (fifo, lru)]
    loads = f"{outcomes[0].loads} loads"
    peers = f"FIFO {over[0]:.2f} ({fifo[0].loads} loads), LRU {over[1]:.2f} ({lru[0].loads} loads)"
    figures = [Figure(f"{name}: makespan over the bound", loads, peers, worst, MOST[name], False)]
    if name == "poisson":
        share = max(ours.p99() / first.p99() for ours, first in zip(outcomes, fifo, strict=True))
        ours_p99, fifo_p99 = max(o.p99() for o in outcomes), max(o.p99() for o in fifo)
        what = f"{name}: p99 wait over FIFO's"
        figures.append(Figure(what, f"{ours_p99:.0f} s", f"{fifo_p99:.0f} s", share, 0.125, False))
    return figures
