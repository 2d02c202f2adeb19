"""Sinks that plugins are: told once of everything that is finished, and nobody's burden when they cannot be told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from host.app import App
from host.views import SinkView
from tests.end_to_end import host_process
from tests.end_to_end.host_process import run_once
from tests.host.working_host import Place
from tests.plugin_kit import install_plugin
from tests.until import until

LIMIT = 120

# Writes each delivery down, unless there is a file that says what else to do.
TELLER = """
import json, os, time
from pathlib import Path
from hooks import BadInput, ModelSpec, hookimpl

folder = Path({folder!r})

@hookimpl
def model_spec(): return ModelSpec(name="teller", device="none", time_limit={limit}, keep_alive=60)

@hookimpl
def on_result(delivery):
    mood = (folder / "mood").read_text() if (folder / "mood").exists() else "well"
    with (folder / "tried").open("a") as file:
        print(json.dumps([delivery.id, delivery.attempt, delivery.event.name]), file=file, flush=True)
    if mood == "down":
        raise ConnectionError("nobody answers")
    if mood == "hang":
        time.sleep(600)
    if delivery.event.name == "never.txt":
        raise BadInput("410 Gone.")
    with (folder / "told").open("a") as file:
        print(delivery.model_dump_json(), file=file, flush=True)
"""


class Listener:
    """Whoever the sink tells: a folder with what was tried and told."""

    def __init__(self, folder: Path, site: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.site = site
        self.install(limit=300)

    def install(self, limit: float) -> None:
        install_plugin(self.site, "teller", TELLER.format(folder=str(self.folder), limit=limit))

    def be(self, mood: str) -> None:
        (self.folder / "mood").write_text(mood)

    @property
    def told(self) -> list[dict[str, Any]]:
        return self._lines("told")

    @property
    def tried(self) -> list[list[Any]]:
        return self._lines("tried")

    def _lines(self, name: str) -> list[Any]:
        path = self.folder / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def seen(app: App, condition: Callable[[SinkView], object]) -> SinkView:
    """The sink, once the condition holds."""
    async with asyncio.timeout(LIMIT):
        while not condition(sink := (await app.status()).sinks[0]):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    return sink


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    return Place(tmp_path / "place", plugin_path)


@pytest.fixture
def listener(tmp_path: Path, plugin_path: Path) -> Listener:
    return Listener(tmp_path / "listener", plugin_path)


async def test_a_sink_is_told_of_each_arrival_once_with_all_that_was_found(place, listener):
    first, again, torn = place.file("a.txt", "apple"), place.file("b.txt", "apple"), place.file("c.txt", "torn")
    async with place.running() as app:
        await app.submit([first], wait=True)
        await until(lambda: len(listener.told) == 1, LIMIT)
        await app.submit([again, torn], wait=True)
        await until(lambda: len(listener.told) == 3, LIMIT)
        await app.requeue([again], done=True)
        await until(lambda: len(listener.told) == 5, LIMIT)  # both arrivals of the content, with other ids
        assert (await seen(app, lambda sink: not sink.owed)).model_dump(exclude_defaults=True) == {
            "name": "teller", "in_use": True,
        }  # fmt: skip
    told = listener.told
    assert [one["event"]["name"] for one in told[:3]] == ["a.txt", "b.txt", "c.txt"]
    assert [one["event"]["name"] for one in told[3:]] == ["a.txt", "b.txt"]
    assert len({one["id"] for one in told}) == 5
    assert {one["event"]["origin"] for one in told} == {first, again, torn}
    caption = next(found for found in told[0]["found"] if found["type"] == "caption")
    assert (caption["plugin"], caption["data"]) == ("reader", {"text": "5"})
    assert told[2]["failures"] == {"reader": "It is torn."}


async def test_who_cannot_be_told_is_told_later_with_the_same_id_and_holds_up_nobody(place, listener):
    listener.be("down")
    async with place.running() as app:
        (answer,) = await app.submit([place.file("a.txt", "apple")], wait=True)
        await until(lambda: len(listener.tried) > 2, LIMIT)
        assert len(list(place.outbox.rglob("a-*.json"))) == 1
        assert (await seen(app, lambda sink: sink.alarm)).alarm == "ConnectionError: nobody answers"
        sentences = (await app.why(answer.event)).sentences
        assert any("teller: not told yet after" in one and "nobody answers" in one for one in sentences)
    listener.be("well")
    async with place.running():  # the journal has it over a restart
        await until(lambda: listener.told, LIMIT)
    assert {one[0] for one in listener.tried} == {listener.told[0]["id"]}
    assert [one[1] for one in listener.tried] == list(range(1, len(listener.tried) + 1))


async def test_what_can_never_be_told_is_given_up_and_the_rest_is_told(place, listener):
    files = [place.file("never.txt", "nobody"), place.file("a.txt", "apple")]
    async with place.running() as app:
        answers = await app.submit(files, wait=True)
        await until(lambda: listener.told, LIMIT)
        assert (await seen(app, lambda sink: not sink.owed)).given_up == 1
        sentences = (await app.why(answers[0].event)).sentences
        assert "teller: given up after 1 attempt(s): 410 Gone." in sentences
    assert [one["event"]["name"] for one in listener.told] == ["a.txt"]


async def test_a_sink_that_hangs_is_ended_and_asked_again_and_other_work_goes_on(place, listener):
    listener.install(limit=2)
    listener.be("hang")
    async with place.running() as app:
        await app.submit([place.file("a.txt", "apple")], wait=True)
        await until(lambda: listener.tried, LIMIT)
        (answer,) = await app.submit([place.file("b.txt", "banana")], wait=True)
        assert answer.state == "done"
        await until(lambda: len(listener.tried) > 1, LIMIT)
        hung = "teller did not finish within 2 s and was ended."
        await seen(app, lambda sink: sink.alarm.startswith(hung))
        listener.be("well")
        await until(lambda: {one["event"]["name"] for one in listener.told} == {"a.txt", "b.txt"}, LIMIT)


async def test_routes_narrow_what_a_sink_is_told_and_an_uninstalled_one_is_owed_nothing(place, listener):
    place.settings["route"] = [{"plugin": "teller", "kinds": ["text"], "folders": ["*/a.txt"]}]
    listener.be("down")
    async with place.running() as app:
        await app.submit([place.file("a.txt", "apple"), place.file("b.txt", "banana")], wait=True)
        await until(lambda: listener.tried, LIMIT)
        assert {one[2] for one in listener.tried} == {"a.txt"}
    for path in place.site.glob("test_plugin_teller-*.dist-info/*"):
        path.unlink()
    async with place.running() as app, asyncio.timeout(LIMIT):
        while (await app.status()).sinks:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("step", ["results committed", "told"])
def test_killed_at_any_step_the_host_tells_everything_and_nothing_under_two_ids(tmp_path, step):
    place = host_process.Place(tmp_path / "place")
    place.measure()
    listener = Listener(tmp_path / "listener", place.site)
    names = [f"{number}.txt" for number in range(6)]
    for name in names:
        (place.inbox / name).write_text(f"this is {name}")
    assert run_once(place, kill_at=(step, 1)) == -9
    assert run_once(place) == 0, place.last_log()
    told = {one["event"]["name"]: one for one in listener.told}
    assert sorted(told) == names
    assert len({one["id"] for one in listener.told}) == 6
    assert all(len(one["found"]) == 1 for one in told.values())
    assert place.count("notices") == 0
