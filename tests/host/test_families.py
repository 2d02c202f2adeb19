"""What plugins make of events becomes events, worked on as any, and gathered when all of it is finished."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from hooks import InvalidPlugin
from host.app import App
from host.families import Families
from host.findings import made_of
from host.journal import Journal, Statement
from host.views import EventView
from tests.host.families import GATHERER, READER, SPLITTER
from tests.host.journal_rows import Row, event
from tests.host.working_host import Place
from tests.plugin_kit import BUILT_IN_OFF, install_plugin

LINES = "0,one,x\n1.5,three,x\n12,eleven,x\n"


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    place = Place(tmp_path, plugin_path)
    for name, source in {"splitter": SPLITTER, "reader": READER, "gatherer": GATHERER}.items():
        install_plugin(plugin_path, name, source, version="2.0")
    return place


async def submit(app: App, path: str) -> str:
    [answer] = await app.submit([path], wait=True)
    assert answer.event is not None, answer.reason
    return answer.event


async def worked_off(app: App) -> None:
    while (await app.status()).queued:  # noqa: ASYNC110 - a journal calls nobody back
        await asyncio.sleep(0.01)


async def gathered(app: App, event: str) -> list[str]:
    [result] = [one for one in (await app.view(event)).results if one.type == "gathered"]
    return list(result.data["lines"])


async def children(app: App, event: str) -> list[str]:
    return [row["id"] for row in await app.journal.rows("family", event_id=event)][1:]


async def test_what_is_made_of_an_event_is_worked_on_and_gathered_in_the_order_of_time(place):
    async with place.running() as app:
        film = await submit(app, place.file("a.csv", LINES))
        assert await gathered(app, film) == ["0 one has 3", "1.5 three has 5", "12 eleven has 6"]
        views = [await app.view(child) for child in await children(app, film)]
    for view in views:
        assert (view.event.parent, view.event.role, view.event.source) == (film, "line", "submit")
        assert view.event.origin.endswith("a.csv")
        assert [one.plugin for one in view.results] == ["reader"]
        assert Path(view.event.path).is_relative_to(place.data / "library")
    assert [view.event.metadata["number"] for view in views] == [0, 1, 2]


async def test_the_first_family_is_gathered_though_something_else_is_finished_meanwhile(place, monkeypatch):
    async with place.running() as app:
        asked, taken = asyncio.Event(), asyncio.Event()
        loop, ask, take = asyncio.get_running_loop(), app.journal.row, Families.take

        async def ask_slowly(name, **parameters):
            answer = await ask(name, **parameters)
            if name == "gathering":
                asked.set()
                await taken.wait()
            return answer

        def take_and_tell(families, outcomes, ancestry):
            children = take(families, outcomes, ancestry)
            if children.files:
                loop.call_soon_threadsafe(taken.set)
            return children

        monkeypatch.setattr(app.journal, "row", ask_slowly)
        monkeypatch.setattr(Families, "take", take_and_tell)
        await app.submit([place.file("b.txt", "alone")])
        await asked.wait()
        film = await submit(app, place.file("a.csv", LINES))
        assert len(await gathered(app, film)) == 3


async def test_only_what_arrived_has_a_sidecar_and_it_comes_when_all_is_gathered(place):
    async with place.running() as app:
        await submit(app, place.file("a.csv", LINES))
    sidecars = [path for path in place.outbox.rglob("*.json")]
    assert len(sidecars) == 1
    assert {one["plugin"] for one in json.loads(sidecars[0].read_bytes())["results"]} == {"gatherer"}
    assert [path for path in (place.data / "scratch").rglob("*") if path.is_file()] == []


async def test_what_was_made_has_sidecars_where_that_is_wished(place):
    place.settings = {"sidecars": {"derived": True}}
    place.inbox.mkdir(parents=True)
    (place.inbox / "a.csv").write_text(LINES)
    async with place.open() as app:
        await app.run(once=True)
    sidecars = {str(path.relative_to(place.outbox)) for path in place.outbox.rglob("*.json")}
    assert sidecars == {"a.csv.json", *(f"a.csv/{number}.txt.json" for number in range(3))}
    body = json.loads((place.outbox / "a.csv" / "1.txt.json").read_bytes())
    assert [result["data"] for result in body["results"]] == [{"text": "three has 5"}]
    assert body["event"]["origin"] == "a.csv/1.txt"


async def test_a_failure_in_a_family_is_told_and_holds_nothing_up(place):
    async with place.running() as app:
        film = await submit(app, place.file("a.csv", "0,one,x\n1,torn,x\n2,three,x\n"))
        assert await gathered(app, film) == ["0 one has 3", "1 It is torn.", "2 three has 5"]


async def test_late_results_are_gathered_anew(place):
    async with place.running() as app:
        film = await submit(app, place.file("a.csv", LINES))
        [first, *_] = await children(app, film)
        before = await app.journal.row("jobs_of_event", event_id=film)
        assert await app.requeue([first], plugin="reader", done=True) == 1
        answer = (await app.submit([place.file("a.csv", LINES)], wait=True))[0]
        assert answer.state == "done"
        await worked_off(app)
        after = await app.journal.row("jobs_of_event", event_id=film)
        assert (after["state"], after["plugin"]) == ("done", "gatherer")
        assert after["finished"] > before["finished"]
        assert len(await gathered(app, film)) == 3


async def test_made_once_more_of_the_same_content_it_is_the_same_event(place):
    async with place.running() as app:
        film = await submit(app, place.file("a.csv", LINES))
        before = await children(app, film)
        await app.requeue([film], plugin="splitter", done=True)
        await submit(app, place.file("a.csv", LINES))
        assert await children(app, film) == before
        assert (await app.journal.row("counts"))["events"] == 4


async def test_the_same_content_at_two_moments_and_in_two_parents_is_several_events(place):
    async with place.running() as app:
        one = await submit(app, place.file("a.csv", "0,same,x\n1,same,x\n2,same,x\n"))
        other = await submit(app, place.file("b.csv", "0,same,y\n1,same,y\n2,same,y\n"))
        assert len({*await children(app, one), *await children(app, other)}) == 6


async def test_what_is_made_no_more_is_left_out_and_stays_known(place):
    async with place.running() as app:
        film = await submit(app, place.file("a.csv", LINES))
        gone, *rest = await children(app, film)
        await app.journal.write(Statement("outdate_derived", [{"parent": film, "maker": "splitter"}]))
        assert await children(app, film) == []
        assert (await app.view(gone)).event.parent == film
        assert len(rest) == 2


async def test_a_route_may_keep_what_was_made_from_a_plugin(place):
    place.settings = {"route": [{"plugin": "reader", "kinds": ["text"], "media_types": ["text/markdown"]}]}
    async with place.running() as app:
        film = await submit(app, place.file("a.csv", LINES))
        assert await gathered(app, film) == ["0 ", "1.5 ", "12 "]


DOUBLER = """
from hooks import hookimpl

@hookimpl
def on_text(events, context):
    for event in events:
        context.scratch.mkdir(parents=True, exist_ok=True)
        path = context.scratch / f"{event.id}.txt"
        path.write_text(event.open().read().decode() + "!")
        yield event.derived(path, "line", moment=0)
"""


async def test_no_plugin_gets_what_was_made_of_its_own_making(place):
    install_plugin(place.site, "doubler", DOUBLER)
    install_plugin(place.site, "tripler", DOUBLER.replace("!", "?"))
    async with place.running() as app:
        await submit(app, place.file("a.txt", "one"))
        await worked_off(app)
        texts = [content(view) for view in await family(app)]
    assert set(texts) == {"one", "one!", "one?", "one!?", "one?!"}


def content(view: EventView) -> str:
    return Path(view.event.path).read_text()


async def family(app: App) -> list[EventView]:
    [row] = await app.journal.rows("latest_events", limit=10)
    return [await app.view(one["id"]) for one in await app.journal.rows("family", event_id=row["id"])]


async def test_what_is_made_of_made_files_ends_somewhere(place):
    for number in range(5):
        install_plugin(place.site, f"doubler{number}", DOUBLER.replace("!", str(number)))
    place.settings = {"plugins": {**BUILT_IN_OFF, "gatherer": {"enabled": False}}}
    async with place.running() as app:
        await submit(app, place.file("a.txt", "x"))
        await worked_off(app)
        longest = max(len(content(view)) for view in await family(app))
        failures = await app.journal.rows("failed_jobs", plugin=None, limit=1)
    assert longest == 4
    assert "3 times is the limit" in failures[0]["error"]


LIAR = """
import os
from hooks import hookimpl

@hookimpl
def on_text(events, context):
    for event in events:
        text = event.open().read().decode()
        if text == "link":
            os.symlink("/etc/hostname", context.scratch / "link")
            yield event.derived(context.scratch / "link", "line", name="link.txt")
        else:
            path = context.scratch / "odd.txt"
            path.write_bytes({"empty": b"", "noise": bytes(range(256))}.get(text, b"words"))
            yield event.derived(path if text in ("empty", "noise") else text, "line", name="odd.bin")
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/etc/hostname", "must lie in its scratch folder"),
        ("link", "cannot be read"),
        ("empty", "is empty"),
        ("noise", "is of no known type"),
    ],
)
async def test_a_file_that_cannot_be_taken_in_fails_the_job_that_made_it(place, text, reason):
    install_plugin(place.site, "liar", LIAR)
    async with place.running() as app:
        [answer] = await app.submit([place.file("a.txt", text)], wait=True)
        assert answer.state == "failed"
        assert reason in answer.reason
        assert (await app.journal.row("counts"))["events"] == 1


@pytest.mark.parametrize(
    "wrong",
    [{"path": "/scratch/../etc/x"}, {"name": "a/b"}, {"name": ""}, {"role": "A frame"}, {"moment": float("nan")},
     {"moment": -1}, {"metadata": {"x": "\ud800"}}],
)  # fmt: skip
def test_a_worker_says_only_what_can_be_kept_of_a_file(wrong):
    said = {"path": "/scratch/a.jpg", "name": "a.jpg", "role": "frame", "moment": 1.0, "metadata": {}}
    assert made_of("video", said, Path("/scratch")).moment == 1.0
    with pytest.raises(InvalidPlugin, match="video made a file that cannot be taken in"):
        made_of("video", {**said, **wrong}, Path("/scratch"))


async def test_a_plugin_gathers_or_works_on_events_and_not_both(place):
    install_plugin(place.site, "both", GATHERER + "\n@hookimpl\ndef on_text(events): pass\n")
    async with place.open(read_only=True) as app:
        [plugin] = [one for one in await app.plugins() if one.name == "both"]
    assert "Make two plugins of it" in plugin.problem


async def state_of_gathering(journal: Journal) -> tuple[str, int]:
    [row] = [row for row in await journal.rows("jobs_of_event", event_id="film") if row["plugin"] == "gatherer"]
    return row["state"], row["held"]


async def test_what_was_found_while_a_family_was_gathered_is_gathered_once_more(journal):
    now = {"queued": 1.0}
    await journal.write(
        Statement("insert_event", [event("film")]),
        Statement("insert_derived", [derived("one", "film"), derived("two", "film")]),
        Statement("insert_job", [{"event_id": one, "plugin": "reader", **now} for one in ("one", "two")]),
        Statement("insert_gathering", [{"event_id": "film", "plugin": "gatherer", **now}]),
    )
    assert await journal.rows("queued_jobs", plugin="gatherer", priority=1, after=0, limit=9) == []
    first, second = await journal.rows("queued_jobs", plugin="reader", priority=1, after=0, limit=9)
    await finish(journal, first)
    assert await state_of_gathering(journal) == ("queued", 1)
    await finish(journal, second)
    assert await state_of_gathering(journal) == ("queued", 0)
    [read] = await journal.rows("queued_jobs", plugin="gatherer", priority=1, after=0, limit=9)
    await journal.write(Statement("requeue_job", [{"seq": first["seq"], **now}]))
    await finish(journal, first)
    await journal.write(Statement("finish_gathering", [{**seq_of(read), "gathers": read["gathers"]}]))
    assert await state_of_gathering(journal) == ("queued", 0)
    [read] = await journal.rows("queued_jobs", plugin="gatherer", priority=1, after=0, limit=9)
    await journal.write(Statement("finish_gathering", [{**seq_of(read), "gathers": read["gathers"]}]))
    assert await state_of_gathering(journal) == ("done", 0)


def derived(name: str, parent: str) -> dict:
    return event(name, parent=parent, maker="splitter", role="line", moment=1.0)


def seq_of(row: Row) -> dict:
    return {"seq": row["seq"], "finished": 2.0}


async def finish(journal: Journal, row: Row) -> None:
    stirred = {"ids": json.dumps([row["event_id"]]), "queued": 1.0}
    await journal.write(Statement("finish_job", [seq_of(row)]), Statement("stir_gathering", [stirred]))


async def test_why_tells_of_a_family_from_both_ends(place):
    async with place.running() as app:
        path = place.file("a.csv", "0,one,x\n3723,torn,x\n4000,four,x\n")
        film = await submit(app, path)
        said = (await app.why(film)).sentences
        assert "3 further event(s) were made of it; their jobs: 2 done, 1 failed." in said
        torn = (await children(app, film))[1]
        explanation = await app.why(torn)
        [failure] = (await app.status()).failures
    assert explanation.state == "failed"
    first, second, *_ = explanation.sentences
    assert first == f"It is the line at 01:02:03 of a.csv (event {film[:8]}), made by splitter."
    assert second.startswith(f"a.csv arrived from submit as {path} on ")
    assert (failure.origin, failure.moment) == (path, 3723.0)


async def test_while_a_family_is_worked_on_why_says_what_is_waited_for(place):
    gate = place.root / "gate"
    async with place.running() as app:
        path = place.file("a.csv", f"0,one,x\n1,wait {gate},x\n2,three,x\n")
        film = (await app.submit([path]))[0].event
        while (await app.journal.row("counts"))["events"] != 4:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        explanation = await app.why(film)
        gate.touch()
        await worked_off(app)
    assert "gatherer: waits until all that was made of it is worked off." in explanation.sentences
    assert explanation.state == "queued"


async def test_to_requeue_a_file_is_to_requeue_what_was_made_of_it(place):
    async with place.running() as app:
        film = await submit(app, place.file("a.csv", "0,one,x\n1,torn,x\n2,three,x\n"))
        assert await app.requeue([film]) == 1
        await worked_off(app)
        assert (await app.status()).failed == 1
