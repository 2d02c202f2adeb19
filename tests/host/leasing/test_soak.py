"""A long life at random, from seeds: faults at every effect, and every invariant looked at at every step.

SENSORIUM_SOAK says how many transitions: a million take some two minutes of one core. The seed of what goes wrong is in
the message.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from host.leasing.policy import PRIORITIES
from host.leasing.simulated_time import simulate
from tests.host.leasing.simulated_host import CPU, GPUS, Faults, Job, SimulatedHost, checked, some_spec

__all__ = ["checked"]

TRANSITIONS = int(os.environ.get("SENSORIUM_SOAK", "1000000"))
LIFE = 3000  # transitions of one host


async def life(seed: int) -> int:
    """One host from start to end, with whatever its seed brings; the number of transitions."""
    rng = random.Random(seed)
    devices = [CPU, *GPUS[: rng.choice([0, 1, 2, 3])]]
    names = [f"m{number}" for number in range(rng.randint(2, 7))]
    host = SimulatedHost(devices, {name: some_spec(rng, name) for name in names}, rng)
    worst = rng.choice([0.0, 0.02, 0.2])
    host.workers.faults = Faults(*(rng.random() * worst for _ in range(6)))
    rate = rng.choice([1.0, 5.0, 20.0])
    host.start()
    while host.transitions < LIFE:
        await asyncio.sleep(rng.random() * rate)
        await host.check()
        await _something_happens(host, rng, names)
        if rng.random() < 0.001:
            await host.stop(hard=rng.random() < 0.5)
            host.start()
    await host.drain()
    await host.stop(hard=rng.random() < 0.3)
    return host.transitions


async def _something_happens(host: SimulatedHost, rng: random.Random, names: list[str]) -> None:
    leases, name, device = host.leases, rng.choice(names), rng.choice(host.leases.devices).name
    chance = rng.random()
    if chance < 0.9:
        hard = rng.choice([0] * 30 + [1, 2, 3, 9])
        host.workers.arrive(name, rng.choice(PRIORITIES), [Job(hard) for _ in range(rng.choice([1, 1, 3, 40]))])
    elif chance < 0.92:
        leases.withdraw(device, "a test")
    elif chance < 0.95:
        leases.restore(device)
    elif chance < 0.96:
        leases.limit(device, rng.choice([None, None, 100.0, 500.0]))
    elif chance < 0.97:
        leases.pause(rng.random() < 0.3)
    elif chance < 0.985:
        leases.dismiss(name)
    else:
        leases.lost(name)


@pytest.mark.usefixtures("checked")
@pytest.mark.timeout(1800)
def test_a_long_life_of_faults_breaks_no_invariant_and_leaves_nothing_undone():
    transitions, seed = 0, 0
    while transitions < TRANSITIONS:
        try:
            transitions += simulate(lambda seed=seed: life(seed))  # type: ignore[misc]
        except Exception as error:
            raise AssertionError(f"seed {seed}, after {transitions} transitions: {error!r}") from error
        seed += 1


async def cut_short(seed: int, at: int, *, hard: bool) -> bool:
    """A host that ends at the so-manieth wait of an effect, and starts again; False when there are not so many."""
    rng = random.Random(seed)
    host = SimulatedHost([CPU, *GPUS[:2]], {f"m{number}": some_spec(rng, f"m{number}") for number in range(5)}, rng)
    host.workers.faults = Faults(0.1, 0.1, 0.1, 0.1, 0.3, 0.3)
    left = at

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            host.end(hard=hard)

    host.workers.on_await = count
    host.start()
    for name in host.leases.slots:
        host.workers.arrive(name, rng.choice(PRIORITIES), [Job(rng.choice([0, 0, 2])) for _ in range(9)])
    for _ in range(200):
        await asyncio.sleep(5)
        if left <= 0:
            await host.ended()
            host.start()
            break
    await host.drain()
    await host.stop(hard=False)
    return left <= 0


@pytest.mark.usefixtures("checked")
@pytest.mark.parametrize("seed", [7, 8, 9])
@pytest.mark.parametrize("hard", [True, False], ids=["cancelled", "closed"])
def test_cut_short_at_every_single_wait_nothing_is_held_and_everything_is_done_after_a_restart(hard, seed):
    at = 1
    while simulate(lambda at=at: cut_short(seed, at, hard=hard)):  # type: ignore[misc]
        at += 1
    assert at > 20
