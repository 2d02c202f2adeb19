"""A result may have a file in its plugin's scratch folder: the host takes it over, however large, and no other file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from host.errors import WorkFailed
from host.requests import Requests
from host.sinks import outbox
from tests.host.working_host import Place
from tests.plugin_kit import BUILT_IN_OFF, install_plugin
from tests.until import until

# Writes what a text says after its first word into a file, in the scratch folder or where that word says.
WRITER = """
from pathlib import Path
from hooks import Speech, hookimpl

@hookimpl
def voices(): return ["plain"]

@hookimpl
def on_text(events, context):
    for event in events:
        where, _, rest = event.open().read().decode().partition(" ")
        path = {"missing": context.scratch / "no.wav", "outside": Path(where).absolute()}.get(where)
        if path is None:
            path = context.scratch / f"{event.id}.wav"
            path.write_text("" if where == "empty" else rest)
        yield event.result(Speech(file=path, sample_rate=8000, duration=1, voice="plain", language="en"))
"""


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    place = Place(tmp_path / "place", plugin_path)
    install_plugin(plugin_path, "writer", WRITER)
    place.settings = {"plugins": {**BUILT_IN_OFF, "reader": {"enabled": False}}}
    return place


def scratch(place: Place) -> list[Path]:
    return [path for path in (place.data / "scratch" / "writer").rglob("*") if path.is_file()]


async def test_the_file_is_in_the_library_and_beside_the_sidecar_and_the_scratch_folder_is_empty(place):
    place.inbox.mkdir(parents=True)
    (place.inbox / "note.txt").write_text("keep what is spoken")
    (place.inbox / "note.md").write_text("keep something else")
    async with place.running() as app:
        await until(lambda: all((place.outbox / name).exists() for name in ("note.wav", "note.md.wav")), 60)
        assert (place.outbox / "note.wav").read_text() == "what is spoken"
        assert (place.outbox / "note.md.wav").read_text() == "something else"
        view = await app.view(json.loads((place.outbox / "note.txt.json").read_bytes())["event"]["id"])
        [result] = view.results
        assert result.artifact.startswith(str(app.library.root))
        assert result.artifact.endswith(".wav")
        assert "file" not in result.data
        await until(lambda: not scratch(place), 60)


@pytest.mark.parametrize(
    ("word", "said"), [("missing", "cannot be read"), ("empty", "empty or not a file"), ("outside", "scratch folder")]
)
async def test_a_file_that_cannot_be_taken_is_a_verdict_and_the_host_goes_on(place, word, said):
    async with place.running() as app:
        [bad, good] = await app.submit([place.file("a.txt", word), place.file("b.txt", "keep this")], wait=True)
        assert bad.state == "failed"
        assert said in bad.reason
        assert good.state == "done"


async def test_the_same_work_again_replaces_the_file(place):
    async with place.running() as app:
        [first] = await app.submit([place.file("a.txt", "keep this")], wait=True)
        await app.requeue([first.event], done=True)
        await until(app.dispatcher.is_idle, 60)
        assert [one.type for one in (await app.view(first.event)).results] == ["speech"]
        await until(lambda: not scratch(place), 60)


async def test_an_answer_has_the_file_as_bytes_unless_it_is_too_large(place, tmp_path, monkeypatch):
    async with place.running() as app:
        requests = Requests(app.registry, app.dispatcher, app.library, tmp_path / "requests")
        [found] = await requests.answer("writer", b"keep these bytes")
        assert found.blob == b"these bytes"
        monkeypatch.setattr("host.requests.LARGEST", 5)
        with pytest.raises(WorkFailed, match="a file of 11 bytes"):
            await requests.answer("writer", b"keep these bytes")
        assert scratch(place) == []


async def test_say_puts_the_file_where_it_is_wished_and_nothing_stays(place, tmp_path):
    async with place.running() as app:
        spoken = await app.say("keep what I say", str(tmp_path / "a.wav"))
        assert (spoken.plugin, spoken.voice) == ("writer", "plain")
        assert (tmp_path / "a.wav").read_text() == "what I say"
        assert scratch(place) == []
        assert (await app.status()).events == 0


async def test_a_file_that_is_too_large_for_a_message_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "PUBLISHED", 3)
    (tmp_path / "a").write_bytes(b"four")
    (tmp_path / "b").write_bytes(b"two")
    assert (outbox._read(tmp_path / "a"), outbox._read(tmp_path / "b")) == (None, b"two")
