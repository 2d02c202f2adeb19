"""What is written down of the leases: the real actor and the real journal, on a clock of ours."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from host.errors import JournalError
from host.journal import Journal, Statement
from host.leasing.history import CLEAN_ROWS, DAY, History
from host.leasing.leases import Leases, LoadError, Transition
from tests.host.journal_rows import event
from tests.host.leasing.test_leases import DEVICES, GPU, Clock, Recorder, spec

START = 1_790_000_000.0


@dataclass
class Told:
    """Leases at work, and the history of what they do."""

    leases: Leases
    effects: Recorder
    history: History
    clock: Clock
    journal: Journal
    fence: int

    async def work(self, plugin: str, seconds: float = 0.0) -> None:
        """Have one job done that takes so long."""

        def done() -> None:
            self.clock.now += seconds
            self.leases.demand(plugin, 0, 0, 0.0)

        self.effects.answer(f"run {plugin}", done)
        self.leases.demand(plugin, 1, 0, 0.0)
        await self.quiet()

    async def later(self, seconds: float) -> None:
        self.clock.now += seconds
        self.leases.pause(self.leases.paused)
        await self.quiet()

    async def quiet(self) -> None:
        for _ in range(60):
            await asyncio.sleep(0)

    async def rows(self, table: str, *columns: str) -> list[tuple[Any, ...]]:
        await self.history.settle()
        found = await self.journal._reader.execute_fetchall(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1")
        return [tuple(row) for row in found]


@contextlib.asynccontextmanager
async def told(journal: Journal, keep_days: float = 7.0, **specs: Any) -> AsyncIterator[Told]:
    """A host's leases; when the block ends, everything has left."""
    clock, effects = Clock(START), Recorder()
    leases = Leases([*DEVICES, GPU], clock)
    history = History(journal, leases, {name: f"model of {name}" for name in specs}, keep_days, clock)
    for name, one in specs.items():
        leases.add(name, one)
    fence = await history.open()
    running = asyncio.create_task(leases.run(effects, fence))
    await asyncio.sleep(0)
    try:
        yield Told(leases, effects, history, clock, journal, fence)
    finally:
        leases.close()
        await running
        await history.settle()


LEASE = ("fence", "device", "plugin", "model", "granted", "released", "reason")
STAY = ("fence", "device", "plugin", "model", "memory_mb", "loading", "loaded", "leaving", "gone", "reason")


async def test_a_lease_says_who_had_which_device_when_and_who_took_over(journal):
    async with told(journal, a=spec(100), b=spec(100)) as now:
        await now.work("a")
        await now.later(2)
        await now.work("b")
        assert await now.rows("leases", *LEASE) == [
            (1, "cpu", "a", "model of a", START, START + 2, "turn of b"),
            (2, "cpu", "b", "model of b", START + 2, None, ""),
        ]


async def test_a_residency_says_when_a_model_came_and_went_and_why(journal):
    async with told(journal, a=spec(100, keep_alive=30)) as now:
        now.effects.answer("load a", lambda: setattr(now.clock, "now", START + 3))
        now.effects.answer("unload a", lambda: setattr(now.clock, "now", START + 35))
        await now.work("a")
        await now.later(30)
        assert await now.rows("residencies", *STAY) == [
            (1, "cpu", "a", "model of a", 100, START, START + 3, START + 33, START + 35, "idle")
        ]


async def test_an_eviction_says_for_whom(journal):
    async with told(journal, a=spec(700), b=spec(700)) as now:
        await now.work("a")
        await now.work("b")
        assert await now.rows("residencies", "plugin", "reason") == [("a", "room for b"), ("b", "")]
        assert await now.rows("leases", "plugin", "reason") == [("a", "room for b"), ("b", "")]


async def test_a_model_that_could_not_be_loaded_is_told_with_its_lease(journal):
    def fail() -> None:
        raise LoadError(60)

    async with told(journal, a=spec()) as now:
        now.effects.answer("load a", fail)
        now.leases.demand("a", 1, 0, 0.0)
        await now.quiet()
        expected = (1, "it could not be loaded")
        assert await now.rows("residencies", "fence", "reason") == [expected]
        assert await now.rows("residencies", "loaded", "gone") == [(None, START)]
        assert await now.rows("leases", "fence", "reason") == [expected]
        now.leases.demand("a", 0, 0, 0.0)


async def test_memory_is_what_was_measured_once_there_is_a_measure(journal):
    async with told(journal, a=spec(100)) as now:
        now.effects.peaks["a"] = 612.5
        await now.work("a")
        assert await now.rows("residencies", "memory_mb") == [(612.5,)]
        await now.later(300)
        assert await now.rows("leases", "memory_mb", "reason") == [(612.5, "idle")]


async def test_batches_that_follow_each_other_are_one_span_of_work(journal):
    async with told(journal, a=spec()) as now:
        for pause in (1, 4, 20):
            await now.work("a", seconds=2)
            await now.later(pause)
        await now.work("a", seconds=2)
        assert await now.rows("work_spans", "plugin", "began - 1790000000", "ended - 1790000000", "batches") == [
            ("a", 0.0, 11.0, 3),
            ("a", 31.0, 33.0, 1),
        ]


async def test_work_without_a_pause_is_told_each_minute(journal):
    async with told(journal, a=spec()) as now:
        for _ in range(10):
            await now.work("a", seconds=13)
        spans = await now.rows("work_spans", "began - 1790000000", "ended - 1790000000", "batches")
        assert spans == [(0.0, 65.0, 5), (65.0, 130.0, 5)]


async def test_work_that_goes_on_is_told_as_far_as_it_has_come(journal):
    async with told(journal, a=spec()) as now:
        gate = now.effects.hold("run a")
        now.leases.demand("a", 1, 0, 0.0)
        await now.quiet()
        now.clock.now += 40
        assert await now.rows("work_spans", "ended - began", "batches") == [(40.0, 0)]
        now.effects.answer("run a", lambda: now.leases.demand("a", 0, 0, 0.0))
        now.clock.now += 2
        gate.set()
        await now.quiet()
        spans = await now.rows("work_spans", "began - 1790000000", "ended - began", "batches")
        assert spans == [(0.0, 40.0, 0), (40.0, 2.0, 1)]


async def test_a_device_is_told_once_and_when_it_is_taken_away_or_given_back(journal):
    async with told(journal) as now:
        now.leases.withdraw("gpu0", "a game")
        now.leases.withdraw("gpu0", "a game")
        now.leases.restore("gpu0")
        now.leases.limit("gpu0", 995)
        now.leases.limit("gpu0", 600)
        rows = await now.rows("device_states", "id", "device", "kind", "budget_mb", "withdrawn")
        assert [row[1:] for row in rows] == [
            ("cpu", "cpu", 1000, ""),
            ("light", "none", 500, ""),
            ("gpu0", "gpu", 1000, ""),
            ("gpu0", "gpu", 1000, "a game"),
            ("gpu0", "gpu", 1000, ""),
            ("gpu0", "gpu", 600, ""),
        ]


async def test_fencing_numbers_go_on_growing_over_restarts(journal):
    fences = []
    for _ in range(3):
        async with told(journal, a=spec()) as now:
            await now.work("a")
            fences += now.effects.fences
    assert fences == [1, 2, 3]


async def test_what_a_killed_host_left_open_is_closed_at_the_next_start(journal):
    async with told(journal, a=spec()) as now:
        await now.work("a")
        await now.history.settle()
        now.history._write = lambda name, **row: None  # it writes nothing more, as after a kill
    assert await journal.row("residents") is not None
    async with told(journal, a=spec()) as now:
        assert now.fence == 1
        assert await now.rows("residencies", "gone", "reason") == [(START, "the host ended")]
        assert await now.rows("leases", "released", "reason") == [(START, "the host ended")]


async def test_a_full_disk_costs_the_history_and_not_the_work(journal, monkeypatch):
    def full(*statements: Any) -> asyncio.Future[None]:
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(JournalError("The disk is full.", passing=True))
        return refused

    async with told(journal, a=spec()) as now:
        with monkeypatch.context() as patch:
            patch.setattr(journal, "submit", full)
            await now.work("a")
        assert now.effects.calls == ["on cpu", "load a", "run a"]
        await now.later(300)
    assert await journal.row("residents") is None


async def test_a_grant_waits_for_no_commit(journal, monkeypatch):
    never = asyncio.get_running_loop().create_future()
    async with told(journal, a=spec()) as now:
        with monkeypatch.context() as patch:
            patch.setattr(journal, "submit", lambda *statements: never)
            await now.work("a")
            assert now.effects.calls == ["on cpu", "load a", "run a"]
        never.cancel()


async def test_a_grant_is_committed_before_what_is_written_after_it(journal):
    async with told(journal, a=spec()) as now:
        now.leases.demand("a", 1, 0, 0.0)
        while now.leases.turn_on("cpu") is None:  # noqa: ASYNC110 - this very moment is meant
            await asyncio.sleep(0)
        await journal.write(Statement("insert_event", [event("found")]))
        assert (await journal.row("last_fence"))["fence"] == 1
        await now.work("a")


# -- how much is kept --------------------------------------------------------------------------------------------------


async def test_what_is_too_old_is_deleted_but_for_the_last_fencing_number(journal):
    async with told(journal, keep_days=2, a=spec(100, keep_alive=1), b=spec(100, keep_alive=1)) as now:
        for plugin in ("a", "b"):
            await now.work(plugin, seconds=1)
            await now.later(10)
        now.clock.now = START + 2 * DAY + 11.5
        now.history.clean()
        assert await now.rows("leases", "plugin") == [("b",)]
        assert await now.rows("residencies", "plugin") == [("b",)]
        assert await now.rows("work_spans", "plugin") == [("b",)]
        now.clock.now = START + 100 * DAY
        now.history.clean()
        assert await now.rows("leases", "plugin") == [("b",)]
        assert await now.rows("residencies", "plugin") == []
        assert await now.rows("work_spans", "plugin") == []


async def test_of_a_device_what_still_holds_is_kept(journal):
    async with told(journal, keep_days=1) as now:
        now.leases.withdraw("gpu0", "a game")
        now.clock.now += 10
        now.leases.restore("gpu0")
        now.clock.now += 30 * DAY
        now.history.clean()
        assert sorted(await now.rows("device_states", "device", "withdrawn")) == [
            ("cpu", ""), ("gpu0", ""), ("light", "")
        ]  # fmt: skip


@pytest.mark.parametrize("rows", [CLEAN_ROWS + 10])
async def test_an_old_backlog_is_deleted_in_parts(journal, rows):
    async with told(journal) as now:
        for number in range(rows):
            now.history._write("insert_work", device="cpu", plugin="a", began=0.0, ended=1.0 + number, batches=1)
        now.history.clean()
        assert await now.rows("work_spans", "count(*)") == [(10,)]
        now.history.clean()
        assert await now.rows("work_spans", "count(*)") == [(0,)]


# -- whatever happens --------------------------------------------------------------------------------------------------


async def live_through(now: Told, seed: int, steps: int = 150) -> None:
    """Work, failures, deaths, evictions, withdrawals and waiting, as the seed wants them."""
    rng, names = random.Random(seed), list(now.leases.slots)

    def chance() -> object:
        now.clock.now += rng.random()
        if rng.random() < 0.1:
            raise LoadError(rng.random() * 20)
        return None

    for name in names:
        now.effects.answer(f"load {name}", *[chance] * steps)
        now.effects.answer(f"run {name}", *[lambda: rng.random() > 0.1] * steps)
    for _ in range(steps):
        name = rng.choice(names)
        match rng.randrange(6):
            case 0 | 1 | 2:
                now.leases.demand(name, rng.randrange(3), rng.randrange(10) == 0, 0.0)
            case 3:
                now.leases.dismiss(name) if rng.random() < 0.5 else now.leases.lost(name)
            case 4 if rng.random() < 0.3:
                now.leases.withdraw("gpu0", "a game")
            case _:
                now.leases.restore("gpu0")
        await now.later(rng.choice([0.0, 0.5, 3.0, 40.0]))
    now.leases.restore("gpu0")


@pytest.mark.parametrize("seed", range(12))
async def test_the_history_is_what_happened(journal, seed):
    specs = {"a": spec(700), "b": spec(600, keep_alive=5), "c": spec(500, "gpu"), "d": spec(600, "auto", keep_alive=30)}
    seen: list[Transition] = []
    async with told(journal, **specs) as now:
        tell = now.leases.on_transition
        now.leases.on_transition = lambda moved: (seen.append(moved), tell(moved))
        await live_through(now, seed)
        fences = [moved.fence for moved in seen if moved.after == "loading"]
    stays = await now.rows("residencies", "fence", "loading", "loaded", "leaving", "gone", "reason")
    assert [stay[0] for stay in stays] == sorted(fences)
    assert len(stays) > 3
    for _, *times, reason in stays:
        reached = [moment for moment in times if moment is not None]
        assert reached == sorted(reached)
        assert times[-1] is not None
        assert reason
    leases = await now.rows("leases", "fence", "device", "plugin", "granted", "released", "reason")
    assert {lease[0] for lease in leases} == {moved.fence for moved in seen if moved.fence}
    for device in ("cpu", "gpu0"):
        here = [lease for lease in leases if lease[1] == device]
        assert all(granted <= released for _, _, _, granted, released, _ in here)
        assert all(before[4] <= after[3] for before, after in pairwise(here)), "never two holders on a device"
    batches = sum(moved.before == "busy" for moved in seen)
    assert sum(row[0] for row in await now.rows("work_spans", "batches")) == batches
