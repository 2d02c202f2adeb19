"""A plugin that misbehaves is contained, named and, when it only fails, suspended: a whole host, real workers."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from host import plugin_manager
from host.app import App
from host.processes import MARK
from host.views import PluginView
from tests.host.working_host import Place
from tests.plugin_kit import MEASURE, install_plugin

HEAD = """
import os, subprocess, sys, time
from pathlib import Path
from hooks import Caption, ModelSpec, ResultData, hookimpl
PLACE = Path({place!r})

class Many(ResultData):
    type = "many"
    words: list[str]

@hookimpl
def on_text(events, context):
"""
WELL = "yield event.result(Caption(text='seen'))"
BODIES = {
    "prints": f"""
    os.write(1, b"x" * 30_000_000)
    for _ in range(100_000): print("line after line")
    for event in events: {WELL}
""",
    "forks": f"""
    subprocess.Popen(["sleep", "3600"], start_new_session=True)
    for event in events: {WELL}
""",
    "splits": f"""
    os.fork()
    for event in events: {WELL}
""",
    "strays": f"""
    (context.scratch / "notes.txt").write_text("mine")
    (PLACE / "diary.txt").write_text("not mine")
    for event in events: {WELL}
""",
    "counts": """
    return len(events)
""",
    "spells": """
    return "a caption"
""",
    "says100mb": """
    for event in events: yield event.result(Many(words=["x" * 1000] * 100_000))
""",
    "says20mb": """
    for event in events:
        for _ in range(20): yield event.result(Many(words=["x" * 1000] * 1000))
""",
    "shouts": """
    raise ValueError("x" * 100_000_000)
""",
    "fickle": f"""
    if not (PLACE / "mended").exists(): raise ValueError("not today")
    for event in events: {WELL}
""",
}
LEAKS = """
from hooks import Caption, ModelSpec, hookimpl
KEPT = []
@hookimpl
def model_spec(): return ModelSpec(name="leaks", device="cpu", memory_mb=50)
@hookimpl
def load(): return "model"
@hookimpl
def on_text(events):
    for event in events:
        KEPT.append(bytearray(b"x") * 60_000_000)
        yield event.result(Caption(text=str(len(KEPT))))
"""
BLOCKS = """
import time
while True:
    try:
        time.sleep(3600)
    except Exception:
        pass
"""


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    temporary = tmp_path / "tmp"  # what lies under it may be written to; the rest of `tmp_path` not
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    place = Place(tmp_path / "place", plugin_path)
    place.inbox.mkdir(parents=True)
    place.settings = {"jobs": {"attempts": 1, "backoff": [0.05], "suspend_after": 0}}
    install_plugin(plugin_path, "measure", MEASURE)
    return place


def install(place: Place, *names: str) -> None:
    for name in names:
        install_plugin(place.site, name, HEAD.format(place=str(place.root)) + BODIES[name])


def drop(place: Place, *names: str) -> None:
    for name in names:
        (place.inbox / f"{name}.txt").write_text(f"the text {name}")


def sidecar(place: Place, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place.outbox / f"{name}.txt.json").read_text())
    return found


def found_by(place: Place, name: str) -> set[str]:
    return {result["plugin"] for result in sidecar(place, name)["results"]}


async def listed(app: App, name: str) -> PluginView:
    (view,) = [view for view in await app.plugins() if view.name == name]
    assert view.record is not None
    return view


async def test_whatever_a_plugin_does_in_its_worker_is_contained_and_named(place):
    install(place, "prints", "forks", "splits", "strays", "counts", "spells", "says100mb", "says20mb", "shouts")
    drop(place, "one")
    async with place.open() as app:
        marks = app.dispatcher.crew._workers.keys()
        summary = await app.run(once=True)
        views = {view.name: view for view in await app.plugins()}
    assert summary.done == 6, sidecar(place, "one")["failures"]
    assert found_by(place, "one") == {"measure", "reader", "prints", "forks", "splits", "strays"}
    failures = {one["plugin"]: one for one in sidecar(place, "one")["failures"]}
    assert {plugin: one["code"] for plugin, one in failures.items()} == {
        "counts": "invalid_plugin", "spells": "invalid_plugin", "says100mb": "invalid_plugin",
        "says20mb": "invalid_plugin", "shouts": "exception",
    }  # fmt: skip
    assert failures["counts"]["message"] == "counts.on_text returned int."
    assert failures["spells"]["message"].startswith("spells.on_text yielded str where a result")
    for plugin in ("says100mb", "says20mb"):
        assert failures[plugin]["message"] == f"{plugin}.on_text said more than 16 MB of one event."
    assert len(failures["shouts"]["message"]) < 5000
    assert not marks, "no worker is left"
    assert [process for process in psutil.process_iter() if _is_of_a_worker(process)] == []
    assert views["strays"].record is not None
    assert views["strays"].record.notes == [
        f"wrote outside of its scratch folder once, last: {place.root / 'diary.txt'}"
    ]
    assert all(not view.record.notes for name, view in views.items() if view.record and name != "strays")
    assert views["prints"].record is not None
    assert views["prints"].record.seconds is not None
    assert views["prints"].record.memory_mb is not None


def _is_of_a_worker(process: psutil.Process) -> bool:
    """Whether it is one of ours that sleeps for an hour."""
    try:
        return process.environ().get(MARK) is not None and process.cmdline() == ["sleep", "3600"]
    except psutil.Error:
        return False


async def test_a_worker_that_keeps_growing_is_replaced_and_its_jobs_are_done(place):
    install_plugin(place.site, "leaks", LEAKS)
    drop(place, *(f"text{number}" for number in range(14)))
    async with place.open() as app:
        summary = await app.run(once=True)
        view = await listed(app, "leaks")
    assert (summary.done, summary.failed) == (3 * 14, 0)
    kept = [
        int(result["data"]["text"])
        for number in range(14)
        for result in sidecar(place, f"text{number}")["results"]
        if result["plugin"] == "leaks"
    ]
    assert len(kept) == 14
    assert max(kept) < 14, "no worker did them all"
    (note,) = view.record.notes
    assert note.startswith("kept growing, and its worker was replaced")
    assert "MB in" in note


async def test_a_plugin_that_only_fails_is_suspended_and_nobody_waits_for_it_until_it_is_enabled(place):
    place.settings["jobs"]["suspend_after"] = 3
    install(place, "fickle")
    names = [f"text{number}" for number in range(8)]
    drop(place, *names)
    async with place.open() as app:
        await app.run(once=True)
        view = await listed(app, "fickle")
        (queue,) = [queue for queue in (await app.status()).queues if queue.plugin == "fickle"]
        explained = await app.why(str(place.inbox / "text0.txt"))
    assert (view.off, view.enabled) == ("suspended", False)
    assert view.problem == (
        "suspended: 3 of its jobs failed one after the other, the last one with: ValueError: not today. "
        "`sensorium plugin enable fickle`"
    )
    assert (queue.queued, queue.failed) == (5, 3)
    assert f"suspended: {queue.off} `" in view.problem
    assert all(found_by(place, name) == {"measure", "reader"} for name in names), "others' results are there"
    assert explained.state in ("queued", "failed")

    drop(place, "late")
    async with place.open() as app:
        await app.run(once=True)
        assert (await listed(app, "fickle")).off == "suspended", "a new start changes nothing"
        assert found_by(place, "late") == {"measure", "reader"}
        (place.root / "mended").touch()
        assert await app.switch_plugin("fickle", True)
        await app.run(once=True)
        view = await listed(app, "fickle")
    assert (view.off, view.problem, view.record.done, view.record.in_a_row) == ("", "", 6, 0)
    assert sum("fickle" in found_by(place, name) for name in [*names, "late"]) == 6
    async with place.open() as app:
        assert await app.requeue([], plugin="fickle") == 3
        await app.run(once=True)
    assert all("fickle" in found_by(place, name) for name in [*names, "late"])


async def test_whoever_asks_for_another_try_of_a_suspended_plugin_has_it(place):
    place.settings["jobs"]["suspend_after"] = 1
    install(place, "fickle")
    drop(place, "one")
    async with place.open() as app:
        await app.run(once=True)
        assert (await listed(app, "fickle")).off == "suspended"
        (place.root / "mended").touch()
        await app.requeue([], plugin="fickle")
        await app.run(once=True)
        assert (await listed(app, "fickle")).off == ""
    assert found_by(place, "one") == {"measure", "reader", "fickle"}


async def test_a_disabled_plugin_gets_no_jobs_at_once_and_is_not_even_imported_at_the_next_start(place):
    install(place, "strays")
    async with place.open() as app:
        assert await app.switch_plugin("strays", False), "at once"
        drop(place, "one")
        await app.run(once=True)
        assert (await listed(app, "strays")).off == "disabled"
    assert found_by(place, "one") == {"measure", "reader"}
    assert sidecar(place, "one")["failures"] == []
    async with place.open() as app:
        view = await listed(app, "strays")
        assert (view.off, view.enabled) == ("disabled", False)
        assert view.problem == "switched off by `sensorium plugin disable`: `sensorium plugin enable strays`"
        assert not await app.switch_plugin("strays", True), "it was not imported: from the next start on"
    drop(place, "two")
    async with place.open() as app:
        await app.run(once=True)
        assert (await listed(app, "strays")).off == ""
    assert found_by(place, "two") == {"measure", "reader", "strays"}


async def test_what_blocks_or_shouts_while_it_is_imported_or_has_a_hook_nobody_knows_is_listed(place, monkeypatch):
    monkeypatch.setattr(plugin_manager, "OPEN_LIMIT", 4.0)
    install_plugin(place.site, "blocks", BLOCKS)
    install_plugin(place.site, "smells", "from hooks import hookimpl\n@hookimpl\ndef on_smell(events): pass\n")
    install_plugin(place.site, "loud", MEASURE + "\nprint('x' * 20_000_000)\n")
    drop(place, "one")
    async with place.open() as app:
        await app.run(once=True)
        problems = {view.name: view.problem for view in await app.plugins() if view.problem}
    assert problems["blocks"] == "it did not start within 4 s. Imports and `model_spec` must be quick."
    assert problems["smells"].startswith("it implements on_smell, which hook API")
    assert found_by(place, "one") == {"measure", "reader", "loud"}
