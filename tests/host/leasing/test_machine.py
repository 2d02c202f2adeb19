"""The lease actor as a state machine: hypothesis looks for a sequence of events and faults that breaks an invariant."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from host.leasing import policy
from host.leasing.policy import PRIORITIES
from host.leasing.simulated_time import SimulatedLoop
from tests.host.leasing.simulated_host import CPU, GPUS, Job, SimulatedHost, checked_decide, decide, some_spec

NAMES = [f"m{number}" for number in range(5)]
EFFECTS = ["load", "load out of memory", "run", "grow", "exit", "memory"]

names = st.sampled_from(NAMES)
priorities = st.sampled_from(PRIORITIES)


class Host(RuleBasedStateMachine):
    """A simulated host that things happen to; invariants are looked at in each decision, effect and transition."""

    def __init__(self) -> None:
        super().__init__()
        policy.decide = checked_decide
        self.loop = SimulatedLoop()
        self.host: SimulatedHost | None = None
        self.to_fail: list[str] = []

    def do(self, work: Any) -> None:
        async def then_look() -> None:
            await work
            assert self.host is not None
            await self.host.check()

        self.loop.run_until_complete(then_look())

    def doomed(self, effect: str) -> bool:
        if effect in self.to_fail:
            self.to_fail.remove(effect)
            return True
        return False

    @initialize(seed=st.integers(0, 2**32), gpus=st.integers(0, 3))
    def starts(self, seed: int, gpus: int) -> None:
        async def make() -> SimulatedHost:
            rng = random.Random(seed)
            return SimulatedHost([CPU, *GPUS[:gpus]], {name: some_spec(rng, name) for name in NAMES}, rng)

        self.host = self.loop.run_until_complete(make())
        self.host.workers.doomed = self.doomed
        self.loop.run_until_complete(self._start())

    async def _start(self) -> None:
        assert self.host is not None
        self.host.start()

    @rule(name=names, priority=priorities, jobs=st.integers(1, 20), hard=st.sampled_from([0, 0, 0, 1, 2, 9]))
    def jobs_arrive(self, name: str, priority: policy.Priority, jobs: int, hard: int) -> None:
        assert self.host is not None
        self.host.workers.arrive(name, priority, [Job(hard)] * jobs)

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 5.0, 61.0, 601.0]))
    def time_passes(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))

    @rule(steps=st.integers(1, 12))
    def the_loop_turns(self, steps: int) -> None:
        async def turns() -> None:
            for _ in range(steps):
                await asyncio.sleep(0)

        self.do(turns())

    @rule(effect=st.sampled_from(EFFECTS))
    def an_effect_is_to_fail(self, effect: str) -> None:
        self.to_fail.append(effect)

    @rule(device=st.integers(0, 3), how=st.sampled_from(["withdraw", "restore", "limit", "free"]))
    def a_device_changes(self, device: int, how: str) -> None:
        assert self.host is not None
        leases = self.host.leases
        name = leases.devices[device % len(leases.devices)].name
        if how == "withdraw":
            leases.withdraw(name, "a test")
        elif how == "restore":
            leases.restore(name)
        else:
            leases.limit(name, 300.0 if how == "limit" else None)

    @rule(paused=st.booleans())
    def somebody_pauses(self, paused: bool) -> None:
        assert self.host is not None
        self.host.leases.pause(paused)

    @rule(name=names)
    def a_model_is_dismissed(self, name: str) -> None:
        assert self.host is not None
        self.host.leases.dismiss(name)

    @rule(name=names)
    def an_idle_worker_dies(self, name: str) -> None:
        assert self.host is not None
        self.host.leases.lost(name)

    @precondition(lambda self: self.host is not None)
    @rule(hard=st.booleans())
    def the_host_ends_and_starts_again(self, hard: bool) -> None:
        assert self.host is not None
        self.loop.run_until_complete(self.host.stop(hard=hard))
        self.loop.run_until_complete(self._start())

    def teardown(self) -> None:
        try:
            if self.host is not None:
                self.loop.run_until_complete(self.host.drain())
                self.loop.run_until_complete(self.host.stop(hard=False))
        finally:
            policy.decide = decide
            asyncio.gather(*asyncio.all_tasks(self.loop)).cancel() if asyncio.all_tasks(self.loop) else None
            self.loop.close()


TestHost = Host.TestCase
TestHost.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestHost.pytestmark = [pytest.mark.timeout(900)]
