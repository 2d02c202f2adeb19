"""Pictures in groups of the like: drawn, embedded by the bundled CLIP, grouped by a worker, named once.

`SENSORIUM_CLUSTER_PICTURES=25` draws 25 of each kind, 300 in all, and not 10.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from host.app import App
from tests.host.working_host import Place
from tests.plugin_kit import BUILT_IN_OFF, install_plugin
from tests.until import until
from tools.drawn_world import Sample, Scene, write_scenes

EACH = int(os.environ.get("SENSORIUM_CLUSTER_PICTURES", "10"))
KINDS = (
    ("cat", "black", "table"), ("dog", "brown", "grass"), ("bird", "red", "sky"), ("fish", "orange", "water"),
    ("car", "red", "beach"), ("boat", "white", "water"), ("house", "yellow", "snow"), ("tree", "green", "beach"),
    ("cup", "blue", "table"), ("runner", "pink", "beach"), ("flower", "purple", "grass"), ("bicycle", "black", "snow"),
)  # fmt: skip
LATER = ("boat", "green", "road")

# Notes every call, and says where to put the cluster in a way that nobody should follow.
LABELLER = """
import json, os
from hooks import ClusterEnrichment, ClusterLabel, ModelSpec, hookimpl

@hookimpl
def model_spec(): return ModelSpec(name="labeller", device="cpu", memory_mb=100)
@hookimpl
def load(): pass
@hookimpl
def performs(): return "label_cluster", "enrich_cluster"
@hookimpl
def perform(task):
    with open(os.environ["CALLS"], "a") as file:
        print(json.dumps([task.name, [path.stat().st_size for path in task.files], task.values]), file=file)
    if task.name == "label_cluster":
        yield ClusterLabel(cluster_name="A picture/of ../something", description="Drawn.", tags=["drawn"],
                           primary_category="things", confidence=.5)
    else:
        yield ClusterEnrichment(hierarchy=["..", "/etc", "drawn things", "."], folder_path="/etc/passwd")
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path / "calls"


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path, calls: Path) -> Place:
    place = Place(tmp_path, plugin_path)
    install_plugin(plugin_path, "labeller", LABELLER)
    on = {name: table for name, table in BUILT_IN_OFF.items() if name not in ("clip", "clusters")}
    place.settings = {"plugins": {**on, "reader": {"enabled": False}}, "clusters": {"albums": True}}
    return place


def drawn(folder: Path, kinds: Sequence[tuple[str, str, str]], each: int, seed: int) -> list[Sample]:
    rng = random.Random(seed)
    scenes = [Scene(*kind, count=rng.choices((1, 2, 3), (6, 2, 1))[0]) for kind in kinds for _ in range(each)]
    return write_scenes(folder, scenes, seed, 96)


async def taken(app: App, samples: Sequence[Sample]) -> dict[str, tuple[str, str, str]]:
    """Have the host look at pictures; the kind of each event."""
    answers = await app.submit([str(sample.path) for sample in samples], wait=True)
    assert {answer.state for answer in answers} == {"done"}
    kinds = [(sample.scene.subject, sample.scene.colour, sample.scene.setting) for sample in samples]
    return {str(answer.event): kind for answer, kind in zip(answers, kinds, strict=True)}


async def grouped(app: App) -> dict[str, int]:
    """The cluster of each event that is in one."""
    names = [view.name for view in await app.clusters()]
    return {member.event: view.id for name in names for view in await app.clusters(name) for member in view.members}


def agreement(kinds: dict[str, tuple[str, str, str]], clusters: dict[str, int]) -> float:
    """The adjusted Rand index; what is in no cluster counts as one cluster more."""
    from sklearn.metrics import adjusted_rand_score

    return float(adjusted_rand_score([str(kind) for kind in kinds.values()], [clusters.get(one, -1) for one in kinds]))


async def test_kinds_become_clusters_that_are_named_once_and_stay_while_others_come(place, calls, tmp_path):
    async with place.running() as app:
        kinds = await taken(app, drawn(tmp_path / "first", KINDS, EACH, 1))
        first = await app.cluster()
        before = {view.id: view.name for view in await app.clusters()}
        assert agreement(kinds, await grouped(app)) >= 0.8
        assert first.placed + first.noise == len(kinds)
        assert len(first.labelled) == first.clusters == len(set(before.values()))
        said = [json.loads(line) for line in calls.read_text().splitlines()]
        assert first.calls == len(said) == 2 * first.clusters
        assert all(1 <= len(sizes) <= 5 for task, sizes, _ in said if task == "label_cluster")

        again = await app.cluster()
        assert (again.looked, again.joined, again.calls, again.noise) == (0, 0, 0, first.noise)

        new = await taken(app, drawn(tmp_path / "second", KINDS * 3, 1, 2)[:30])
        second = await app.cluster()
        where = await grouped(app)
        joined = {event: kind for event, kind in new.items() if event in where}
        assert (second.looked, second.grouped, second.calls, second.labelled) == (30, 0, 0, [])
        assert second.joined == len(joined) >= 20
        assert {view.id: view.name for view in await app.clusters()} == before
        assert agreement({**kinds, **joined}, where) >= 0.8

        strange = await taken(app, drawn(tmp_path / "third", [LATER], 2 * EACH, 3))
        third = await app.cluster()
        after = {view.id: view.name for view in await app.clusters()}
        where = await grouped(app)
        assert third.grouped == len(kinds) + len(new) + len(strange)
        assert len(before.keys() & after.keys()) >= len(KINDS) - 1
        assert all(after[number] == name for number, name in before.items() if number in after)
        assert len(third.labelled) == len(after.keys() - before.keys()) >= 1
        assert agreement({**kinds, **new, **strange}, where) >= 0.8


# --- texts, no model, albums ---

# Gives each text a vector: what its first word is about, and a little of all else.
NOTES = """
import hashlib
from hooks import Embedding, ResultData, hookimpl

class Note(ResultData):
    type = "note"
    text: str

@hookimpl
def on_text(events):
    for event in events:
        text = event.open().read().decode()
        about = hashlib.sha256(text.split()[0].encode()).digest()
        noise = hashlib.sha256(text.encode()).digest()
        vector = [one - 127.5 + (other - 127.5) * .1 for one, other in zip(about, noise)]
        length = sum(one * one for one in vector) ** .5
        yield event.result(Note(text=text))
        yield event.result(Embedding(space="notes", vector=[one / length for one in vector]))
"""
THEMES = {"Budget": "the money for next year", "Garden": "roses and onions in spring", "Journey": "trains to the sea"}


@pytest.fixture
def notes(tmp_path: Path, plugin_path: Path, calls: Path) -> Place:
    place = Place(tmp_path, plugin_path)
    install_plugin(plugin_path, "notes", NOTES)
    off = {name: table for name, table in BUILT_IN_OFF.items() if name != "clusters"}
    place.settings = {"plugins": {**off, "reader": {"enabled": False}}, "clusters": {"albums": True}}
    return place


async def written(app: App, place: Place, themes: Sequence[str], each: int, first: int = 0) -> None:
    """Have the host read texts, some for each theme, called as the theme and a number."""
    named = [(theme, number) for theme in themes for number in range(first, first + each)]
    texts = {f"{theme}-{number}.txt": f"{theme} {number}: {THEMES.get(theme, 'x')}" for theme, number in named}
    answers = await app.submit([place.file(name, text) for name, text in texts.items()], wait=True)
    assert {answer.state for answer in answers} == {"done"}


def album(place: Place, theme: str) -> list[Path]:
    """The links to files of a theme, wherever they are in the albums."""
    return sorted((place.outbox / "albums").glob(f"**/{theme}-*.txt"))


async def test_texts_are_named_by_their_words_and_what_is_like_nothing_stays_outside(notes):
    lone = ["Alone", "Apart", "Single"]
    async with notes.running() as app:
        await written(app, notes, list(THEMES), 8)
        await written(app, notes, lone, 1)
        done = await app.cluster()
        assert (done.clusters, done.placed, done.noise, done.calls) == (3, 24, 3, 0)
        views = {view.name: view for view in await app.clusters()}
        for theme, words in THEMES.items():
            (view,) = (
                view
                for view in views.values()
                if view.members[0].origin.endswith(f"{theme}-0.txt")
                or any(theme in member.origin for member in view.members)
            )
            assert set(view.name.split()) <= {theme.casefold(), *words.split()}
            assert view.provenance["grouped"]["by"] == "clusters"
            links = album(notes, theme)
            assert len(links) == 8
            assert all(link.is_symlink() and theme in link.read_text() for link in links)
        assert all(not album(notes, theme) for theme in lone)


async def test_albums_follow_the_clusters_and_leave_what_people_put_there(notes):
    async with notes.running() as app:
        await written(app, notes, list(THEMES), 8)
        await app.cluster()
        folder = album(notes, "Garden")[0].parent
        (folder / "mine.txt").write_text("mine")
        own = folder / "Garden-0.txt"
        own.unlink()
        own.write_text("not yours")
        await app.cluster()
        assert own.read_text() == "not yours"
        await written(app, notes, ["Garden"], 3, first=8)
        done = await app.cluster()
        assert (done.joined, done.labelled) == (3, [])
        assert len(album(notes, "Garden")) == 11
        assert [problem for problem in done.problems if str(own) in problem]
        # Another view of the same: nothing is a cluster any more, and only what was made here goes.
        notes.settings["plugins"]["clusters"] = {"smallest": 20}
    async with notes.open() as app:
        done = await app.cluster(anew=True)
        assert (done.clusters, len(done.gone)) == (0, 3)
    left = sorted(path for path in (notes.outbox / "albums").rglob("*") if not path.name.startswith("."))
    assert [path for path in left if not path.is_dir()] == [own, folder / "mine.txt"]


async def test_a_look_that_was_broken_off_goes_on_and_labels_nothing_twice(notes, plugin_path, calls, monkeypatch):
    waiting = '    while os.path.exists(os.environ["CALLS"] + ".hold"): time.sleep(.01)\n'
    slow = LABELLER.replace("json, os", "json, os, time").replace("    if task.name", waiting + "    if task.name")
    install_plugin(plugin_path, "labeller", slow)
    hold = calls.with_name("calls.hold")
    async with notes.open() as app:
        await written(app, notes, list(THEMES), 8)
        hold.touch()
        looking = asyncio.create_task(app.cluster())
        await until(lambda: calls.exists() and calls.read_text().count("\n") == 1, 60)
        looking.cancel()
        hold.unlink()
        await asyncio.gather(looking, return_exceptions=True)
    async with notes.open() as app:
        assert len(await app.clusters()) == 3
        done = await app.cluster()
        assert (done.looked, len(done.labelled)) == (0, 3)
        assert {view.enrichment["folder_path"] for view in await app.clusters()} == {"/etc/passwd"}
    names = [json.loads(line)[2]["name"] for line in calls.read_text().splitlines()]
    assert len(names) == 4
    albums = notes.outbox / "albums"
    assert {link.resolve().is_relative_to(notes.data) for link in albums.rglob("*.txt")} == {True}
    assert {path.relative_to(albums).parts[:2] for path in albums.rglob("*.txt")} == {("etc", "drawn things")}


async def test_a_label_that_a_model_cannot_give_comes_from_what_is_known(notes, plugin_path):
    broken = "raise RuntimeError('no idea')\n"
    install_plugin(plugin_path, "labeller", LABELLER.split("    with open")[0] + "    " + broken)
    async with notes.open() as app:
        await written(app, notes, list(THEMES), 8)
        done = await app.cluster()
        assert len(done.labelled) == 3
        assert len([problem for problem in done.problems if "no idea" in problem]) == 3
        assert (await app.cluster()).calls == 0


async def test_a_host_looks_by_itself_and_the_bundled_language_model_says_where_a_cluster_belongs(notes):
    notes.settings["plugins"]["llm"] = {"model": "bundled", "tasks": {}}
    notes.settings["clusters"] = {"every_hours": 0.0003}
    async with notes.open() as app:
        await written(app, notes, list(THEMES), 8)
    async with notes.running() as app:
        async with asyncio.timeout(120):
            while [view.label is not None for view in await app.clusters()] != [True] * 3:  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # a journal calls nobody back
        enriched = [view for view in await app.clusters() if view.enrichment is not None]
        assert enriched, "the bundled model knows photo clusters; of others it may say what has no form"
        for view in enriched:
            assert view.enrichment["hierarchy"]
            assert view.provenance["enriched"]["by"] == "llm"
            assert view.provenance["enriched"]["model_sha256"]
