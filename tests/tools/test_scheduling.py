"""The scheduling simulation: simulated time makes its figures facts, the same on every machine."""

from __future__ import annotations

import asyncio

import pytest

from host.leasing.simulated_time import simulate
from tools.bench.scheduling import in_order, ours, scheduling
from tools.bench.traces import TRACES, SimJob, SimModel, Trace


def test_every_bound_holds_and_no_job_is_lost():
    report = scheduling(seeds=(2,))
    assert report.lost == 0
    assert [figure.what for figure in report.figures if not figure.holds] == []


def test_simulated_hours_pass_at_once_and_in_order():
    async def sleepers() -> list[tuple[str, float]]:
        loop, woken = asyncio.get_running_loop(), []

        async def sleeper(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            woken.append((name, loop.time()))

        await asyncio.gather(sleeper("late", 7200), sleeper("early", 3600))
        return woken

    assert simulate(sleepers) == [("early", 3600.0), ("late", 7200.0)]


def test_a_deadlock_is_said_and_not_waited_for():
    async def waits_for_ever() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="deadlock"):
        simulate(waits_for_ever)


@pytest.mark.parametrize("name", TRACES)
def test_nothing_ends_before_the_lower_bound(name):
    trace = TRACES[name](5, 200)
    assert simulate(lambda: ours(trace)).makespan >= trace.bound()


def test_first_come_first_served_loads_as_often_as_the_model_changes():
    models = (SimModel("a", 1024, 1.0, 0.5), SimModel("b", 1024, 1.0, 0.5))
    trace = Trace("by hand", models, tuple(SimJob(name, 0.0) for name in "aabba"))
    one_at_a_time, both_fit = in_order(trace, keep=False), in_order(trace, keep=True)
    assert (one_at_a_time.loads, one_at_a_time.makespan) == (3, 5.5)
    assert (both_fit.loads, both_fit.makespan) == (2, 4.5)


def test_of_two_devices_the_peer_uses_whichever_is_done_first():
    models = (SimModel("a", 1024, 1.0, 0.5), SimModel("b", 1024, 1.0, 0.5))
    trace = Trace("by hand", models, tuple(SimJob(name, 0.0) for name in "abab"), (8192, 8192))
    outcome = in_order(trace, keep=True)
    assert (outcome.loads, outcome.makespan) == (2, 2.0)


def test_the_bound_knows_that_a_model_is_on_one_device_at_a_time():
    trace = Trace("by hand", (SimModel("a", 1024, 1.0, 0.5),), (SimJob("a", 0.0),) * 4, (8192, 8192))
    assert trace.bound() == 3.0


def test_interactive_work_waits_least_and_background_work_is_done_all_the_same():
    outcome = simulate(lambda: ours(TRACES["priorities"](4, 200)))
    assert outcome.done == 200
    assert outcome.p99("interactive") < outcome.p99("normal") < outcome.p99("background")
