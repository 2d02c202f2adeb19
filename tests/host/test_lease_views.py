"""What `sensorium leases` shows, of a real host and of what it leaves in the journal."""

import asyncio
import os
import sqlite3
import time

import pytest

from tests.host.working_host import READER, Place
from tests.plugin_kit import install_plugin
from tests.until import until


@pytest.fixture
def place(tmp_path, plugin_path):
    return Place(tmp_path / "place", plugin_path)


def device(table, name="cpu"):
    return next(one for one in table.devices if one.name == name)


async def test_a_resident_model_is_shown_with_its_memory_and_what_is_left_of_its_time(place):
    async with place.running() as app:
        await app.submit([place.file("a.txt", "apple")], wait=True)
        await until(lambda: app.leases.slots["reader"].state == "ready")
        table = await app.lease_table()
        cpu = device(table)
        (reader,) = cpu.residents
        assert (table.running, table.paused) == (os.getpid(), False)
        assert (cpu.holder, cpu.fence) == ("reader", 1)
        assert cpu.held_since is not None
        assert table.at - 60 < cpu.held_since <= table.at
        assert (reader.plugin, reader.model, reader.state, reader.measured) == ("reader", "reader", "ready", True)
        assert cpu.used_mb == reader.memory_mb > 5
        assert cpu.free_mb == cpu.budget_mb - cpu.used_mb
        assert reader.leaves - reader.idle_since == pytest.approx(60)


async def test_who_waits_is_shown_with_since_when_and_a_model_with_work_does_not_leave(place):
    async with place.running() as app:
        await app.submit([place.file("w.txt", f"wait {place.root}/go")])
        await until(lambda: app.leases.slots["reader"].state == "busy")
        before = time.time()
        await app.submit([place.file(f"{number}.txt", f"{number}") for number in range(3)])
        await until(lambda: app.leases.slots["reader"].waiting == 3)
        cpu = device(await app.lease_table())
        (wait,), (reader,) = cpu.waiting, cpu.residents
        assert (wait.plugin, wait.jobs, wait.urgent) == ("reader", 3, 0)
        assert before - 1 <= wait.since <= time.time()
        assert (reader.state, reader.idle_since, reader.leaves) == ("busy", None, None)
        (place.root / "go").touch()


async def test_a_withdrawn_device_says_why(place):
    async with place.running() as app:
        app.leases.withdraw("cpu", "somebody plays")
        assert device(await app.lease_table()).withdrawn == "somebody plays"


async def test_after_the_host_the_journal_tells_who_left_and_who_waits(place):
    async with place.running() as app:
        await app.submit([place.file("a.txt", "apple")], wait=True)
    async with place.open() as app:
        await app.submit([place.file("b.txt", "banana")])
    async with place.open(read_only=True) as app:
        table = await app.lease_table()
        cpu = device(table)
        assert (table.running, cpu.residents, cpu.holder) == (None, [], None)
        assert [(one.plugin, one.reason) for one in cpu.left] == [("reader", "the host ends")]
        assert table.at == pytest.approx(cpu.left[0].at)
        assert [(one.plugin, one.jobs) for one in cpu.waiting] == [("reader", 1)]
        assert cpu.waiting[0].since == pytest.approx(time.time(), abs=60)


async def test_what_was_resident_when_a_host_was_killed_is_the_last_that_is_known(place):
    async with place.running() as app:
        await app.submit([place.file("a.txt", "apple")], wait=True)
        await app.history.settle()
        with sqlite3.connect(app.journal.path) as now, sqlite3.connect(place.root / "as-killed.db") as copy:
            now.backup(copy)
    (place.root / "as-killed.db").replace(place.data / "journal.db")
    for name in ("journal.db-wal", "journal.db-shm"):
        (place.data / name).unlink(missing_ok=True)
    async with place.open(read_only=True) as app:
        (reader,) = device(await app.lease_table()).residents
        assert (reader.plugin, reader.state, reader.leaves) == ("reader", "ready", None)


async def test_before_the_first_run_there_are_devices_and_nothing_else(place):
    async with place.open(read_only=True) as app:
        table = await app.lease_table()
        assert {one.name for one in table.devices} >= {"cpu", "light"}
        assert not any(one.residents or one.left or one.waiting for one in table.devices)
        history = await app.lease_history(1)
        assert (history.residencies, history.work, history.devices) == ([], [], [])


async def test_the_history_tells_of_what_goes_on_now(place):
    async with place.running() as app:
        await app.submit([place.file("w.txt", f"wait {place.root}/go")])
        await until(lambda: app.leases.slots["reader"].state == "busy")
        await asyncio.sleep(0.02)
        history = await app.lease_history(1)
        (stay,) = history.residencies
        assert (stay.plugin, stay.device, stay.gone) == ("reader", "cpu", None)
        assert [(one.device, one.withdrawn) for one in history.devices if one.device == "cpu"] == [("cpu", "")]
        assert history.work[0].ended <= history.until
        (place.root / "go").touch()


async def test_the_history_leaves_out_what_ended_before(place):
    async with place.running() as app:
        await app.submit([place.file("a.txt", "apple")], wait=True)
    async with place.open() as app:
        for table, column in (("residencies", "gone"), ("work_spans", "ended")):
            await app.journal._writer.execute(f"UPDATE {table} SET {column} = {column} - 7200")
        assert (await app.lease_history(1)).residencies == []
        assert len((await app.lease_history(3)).residencies) == 1


# -- plans -------------------------------------------------------------------------------------------------------------


async def test_a_plan_is_the_same_of_a_host_that_runs_and_of_one_that_does_not(place):
    async with place.running() as app:
        await app.submit([place.file("a.txt", "apple")], wait=True)
        await until(lambda: app.leases.slots["reader"].state == "ready")
        beside = await app.plan([6144])
        assert app.leases.slots["reader"].state == "ready", "nothing was loaded or unloaded for it"
    async with place.open(read_only=True) as app:
        alone = await app.plan([6144])
    (running,), (asleep,) = beside.models, alone.models
    assert (running.plugin, running.devices, running.fate) == ("reader", ["cpu"], "stays")
    assert (running.measured, running.load_seconds is not None) == (True, True)
    assert (asleep.plugin, asleep.devices, asleep.fate, asleep.measured) == ("reader", ["cpu"], "stays", True)
    assert [(device.name, device.budget_mb) for device in alone.devices][1:] == [("gpu0", 5644)]


async def test_a_plan_names_what_swaps_with_what(place):
    for name in ("one", "two"):
        source = READER.replace('name="reader", device="cpu"', f'name="{name}", device="gpu", memory_mb=4000')
        install_plugin(place.site, name, source)
    async with place.open(read_only=True) as app:
        plan = await app.plan([6144])
    fates = {model.plugin: (model.fate, model.swaps_with) for model in plan.models}
    assert fates == {"one": ("swaps", ["two"]), "two": ("swaps", ["one"]), "reader": ("stays", [])}
    gpu = next(one for one in plan.devices if one.name == "gpu0")
    assert gpu.together == [["one"], ["two"]]
    assert gpu.reloads > 0
