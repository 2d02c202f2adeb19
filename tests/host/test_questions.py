"""What may be asked of a host, and the answers."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from PIL import Image

from host.errors import NotFound, UsageError, WorkFailed
from host.names import to_text
from tests.host.working_host import Place
from tests.until import until


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    return Place(tmp_path / "place", plugin_path)


def content(path: str) -> str:
    return Path(path).read_text()


async def taken(app, place: Place, **contents: str) -> dict[str, str]:
    """Submit files with these contents and wait for them; their events by name."""
    answers = await app.submit([place.file(f"{name}.txt", text) for name, text in contents.items()], wait=True)
    return {name: answer.event for name, answer in zip(contents, answers, strict=True)}


# -- naming an event ---------------------------------------------------------------------------------------------------


async def test_an_event_is_found_by_path_id_beginning_hash_and_where_its_content_lies(place, monkeypatch):
    async with place.open() as app:
        events = await taken(app, place, a="apple", b="banana")
        view = await app.view(events["a"])
        monkeypatch.chdir(place.root / "elsewhere")
        names = [str(place.root / "elsewhere" / "a.txt"), "a.txt", events["a"], events["a"][:6].upper()]
        for name in [*names, view.event.sha256, view.event.path]:
            (found,) = await app.results(name)
            assert found.event.id == events["a"], name


async def test_a_copy_of_a_content_is_found_wherever_it_lies(place):
    async with place.open() as app:
        events = await taken(app, place, a="apple")
        (found,) = await app.results(place.file("elsewhere.txt", "apple"))
        assert found.event.id == events["a"]


async def test_of_two_contents_that_had_one_path_the_latest_is_meant(place):
    async with place.open() as app:
        await taken(app, place, a="apple")
        events = await taken(app, place, a="avocado")
        (found,) = await app.results(str(place.root / "elsewhere" / "a.txt"))
        assert found.event.id == events["a"]


async def test_a_file_that_was_taken_from_an_inbox_is_found_by_its_old_path(place):
    place.inbox.mkdir(parents=True)
    (place.inbox / "a.txt").write_text("apple")
    async with place.open() as app:
        await app.run(once=True)
        assert not (place.inbox / "a.txt").exists()
        (found,) = await app.results(str(place.inbox / "a.txt"))
        assert found.event.origin == "a.txt"


async def test_a_file_whose_name_looks_like_an_id_is_meant_as_the_file(place, monkeypatch):
    async with place.open() as app:
        events = await taken(app, place, a="apple", b="banana")
        name = events["b"][:8]
        monkeypatch.chdir(Path(place.file(name, "apple")).parent)
        (found,) = await app.results(name)
        assert found.event.id == events["a"]


async def test_the_beginning_of_several_ids_is_not_enough(place):
    async with place.open() as app:
        await taken(app, place, **{f"n{number}": f"a{number}" for number in range(3)})
        prefix = "abcd"
        await app.journal._writer.execute("PRAGMA foreign_keys = OFF")
        await app.journal._writer.execute("UPDATE events SET id = :p || substr(id, 5)", {"p": prefix})
        with pytest.raises(UsageError, match="beginning of several"):
            await app.results(prefix)


@pytest.mark.parametrize("query", ["nothing.png", "abc", "abcdef012345", "/nowhere/at/all", "with\0nul", ""])
async def test_what_nobody_knows_is_not_found(place, query):
    async with place.open() as app:
        with pytest.raises(NotFound, match="Nothing is known"):
            await app.results(query)


# -- at a glance -------------------------------------------------------------------------------------------------------


async def test_results_without_a_name_are_the_latest_first(place):
    async with place.open() as app:
        for name in ("apple", "banana", "cherry"):
            await taken(app, place, **{name: name})
        assert [view.event.name for view in await app.results(limit=2)] == ["cherry.txt", "banana.txt"]


async def test_status_says_what_is_loaded_what_waits_and_what_failed(place):
    go = place.root / "go"
    async with place.running() as app:
        await taken(app, place, torn="torn")
        await app.submit([place.file("slow.txt", f"wait {go}")])
        await until(lambda: app.dispatcher.running("reader"))
        await app.submit([place.file("next.txt", "next")])
        status = await app.status()
        (queue,) = status.queues
        assert (queue.queued, queue.running, queue.failed) == (1, 1, 1)
        (cpu,) = [device for device in status.devices if device.name == "cpu"]
        assert (cpu.holder, cpu.residents) == ("reader", ["reader"])
        assert cpu.used_mb > 0
        (failure,) = status.failures
        assert (failure.plugin, failure.message, failure.hint) == ("reader", "It is torn.", "Mend it.")
        (model,) = await app.models()
        assert (model.state, model.plugin) == ("busy", "reader")
        assert model.pid
        go.touch()


async def test_status_without_a_running_host_says_so(place):
    async with place.open() as app:
        status = await app.status()
        assert (status.running, status.devices) == (None, [])
        assert [queue.plugin for queue in status.queues] == ["reader"]


async def test_a_paused_host_takes_in_and_does_not_work_until_it_is_resumed(place):
    async with place.running() as app:
        await taken(app, place, z="zucchini")
        assert await app.pause(True)
        (answer,) = await app.submit([place.file("a.txt", "apple")])
        assert (await app.status()).paused
        assert len(await app.search("a")) == 1, "what somebody waits for is answered all the same"
        assert (await app.view(answer.event)).pending == ["reader"]
        assert not await app.pause(False)
        await until(app.dispatcher.is_idle)
        assert (await app.view(answer.event)).pending == []


async def test_nothing_can_be_paused_where_nothing_runs(place):
    async with place.open() as app:
        with pytest.raises(UsageError, match="No host runs"):
            await app.pause(True)


async def test_a_model_that_is_unloaded_leaves_and_is_loaded_again_for_the_next_question(place):
    async with place.running() as app:
        await taken(app, place, a="apple")
        assert await app.unload("reader") == ["reader"]
        await until(lambda: app.leases.slots["reader"].state == "unloaded")
        assert await app.unload() == []
        assert len(await app.search("a")) == 1


async def test_only_a_model_that_is_known_to_a_host_that_runs_can_be_unloaded(place):
    async with place.running() as app:
        with pytest.raises(NotFound, match="nobody"):
            await app.unload("nobody")
    async with place.open() as app:
        with pytest.raises(UsageError, match="No host runs"):
            await app.unload()


# -- requeue -----------------------------------------------------------------------------------------------------------


async def test_requeue_brings_back_failed_jobs_and_with_done_the_finished_ones(place):
    async with place.running() as app:
        events = await taken(app, place, a="apple", torn="torn")
        assert await app.requeue([]) == 1
        await until(app.dispatcher.is_idle)
        (view,) = await app.results(events["torn"])
        assert view.failures[0].attempts == 1, "counted anew"
        assert await app.requeue([], done=True) == 2
        await until(app.dispatcher.is_idle)
        assert (await app.requeue([events["a"]]), await app.requeue([events["a"]], done=True)) == (0, 1)


async def test_requeue_for_a_plugin_that_is_not_there_says_so(place):
    async with place.open() as app:
        with pytest.raises(NotFound, match="No plugin 'clap'"):
            await app.requeue([], plugin="clap")


async def test_requeue_of_what_nobody_knows_queues_nothing(place):
    async with place.open() as app:
        await taken(app, place, torn="torn")
        with pytest.raises(NotFound):
            await app.requeue([str(place.root / "elsewhere" / "torn.txt"), "nothing.png"])
        assert (await app.status()).failed == 1


# -- search ------------------------------------------------------------------------------------------------------------


async def test_a_search_finds_the_nearest_first_and_leaves_no_worker_where_no_host_runs(place):
    async with place.open() as app:
        await taken(app, place, a="apple", m="mango", z="zucchini")
        hits = await app.search("b", limit=2)
        assert [Path(hit.origin).name for hit in hits] == ["a.txt", "m.txt"]
        assert hits[0].score > hits[1].score
        assert content(hits[0].path) == "apple"
        assert all(slot.state == "unloaded" for slot in app.leases.slots.values())


async def test_a_search_without_a_host_works_on_no_jobs(place):
    async with place.open() as app:
        (answer,) = await app.submit([place.file("a.txt", "apple")])
        await app.search("a")
        assert (await app.view(answer.event)).pending == ["reader"]
        assert not app.leases.paused


async def test_a_search_by_picture_needs_a_picture(place, tmp_path):
    picture = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    async with place.open() as app:
        await taken(app, place, m="mango", z="zucchini")
        (hit, _) = await app.search(like=str(picture))
        assert Path(hit.origin).name == "m.txt"
        with pytest.raises(UsageError, match="not a picture"):
            await app.search(like=place.file("a.txt", "apple"))
        with pytest.raises(NotFound, match="no file"):
            await app.search(like=str(tmp_path / "nothing.png"))


@pytest.mark.parametrize("asked", [{}, {"text": "a", "like": "b.png"}, {"like": "b.png", "words": True}])
async def test_a_search_is_for_a_text_or_for_a_picture(place, asked):
    async with place.open() as app:
        with pytest.raises(UsageError, match="Say what to search for"):
            await app.search(**asked)


async def test_a_search_by_picture_where_nothing_can_compare_pictures_says_so(place, tmp_path):
    picture = tmp_path / "picture.png"
    Image.new("RGB", (8, 8)).save(picture)
    place.settings = {"plugins": {name: {"enabled": False} for name in ("clip", "metadata", "reader")}}
    async with place.open() as app:
        with pytest.raises(UsageError, match="No plugin in use can compare pictures"):
            await app.search(like=str(picture))


async def test_several_searches_at_once_are_all_answered(place):
    async with place.running() as app:
        await taken(app, place, a="apple", z="zucchini")
        found = await asyncio.gather(*(app.search(letter, limit=1) for letter in "azazaz"))
        assert [Path(hits[0].origin).name for hits in found] == ["a.txt", "z.txt"] * 3


async def test_a_search_that_the_plugin_cannot_do_is_an_error_and_the_host_goes_on(place):
    async with place.running() as app:
        await taken(app, place, a="apple")
        with pytest.raises(WorkFailed, match="IndexError"):
            await app.search("")
        assert len(await app.search("a")) == 1


@pytest.mark.parametrize("name", [b"odd-\xff.txt", b"looks\\x41like.txt", b"new\nline.txt"])
async def test_a_file_of_any_name_can_be_submitted_and_asked_about(place, tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    path.write_text("some words")
    async with place.open() as app:
        (submitted,) = await app.submit([to_text(str(path))])
        assert (submitted.state, submitted.reason) == ("accepted", "")
        (view,) = await app.results(to_text(str(path)))
        assert view.event.id == submitted.event
