"""What plugins find that is text is read by plugins that take text, where they or the routes say so, and once."""

from __future__ import annotations

import json

import pytest

from host.config import Route
from host.routes import Routes
from tests.host.working_host import Place
from tests.plugin_kit import install_plugin, plugin_path
from tests.until import until

__all__ = ["plugin_path"]
# Hears in a picture what its name says; two persons where it is "talk".
HEARS = """
from hooks import Caption, Segment, SpeakerTurns, Transcript, Turn, hookimpl

@hookimpl
def on_image(events):
    for event in events:
        facts = {"language": "en", "language_probability": 1.0, "duration": 2.0}
        name = event.name.partition(".")[0]
        said = [] if name == "silence" else [Segment(start=n, end=n + 1, text=f"{name} {n}") for n in range(2)]
        yield event.result(Transcript.of(said, **facts))
        yield event.result(Caption(text="a picture"))
        if name == "talk":
            turns = [Turn(start=n, end=n + 1, speaker=name) for n, name in enumerate(("Ana", "Bob"))]
            yield event.result(SpeakerTurns(turns=turns))
"""
# Repeats what it reads; reads what the one who shouts finds, too.
ECHO = """
from hooks import ResultData, hookimpl

reads = ("transcript", "shout")

class Echo(ResultData):
    type = "echo"
    text: str
    role: str
    kind: str

@hookimpl
def on_text(events):
    for event in events:
        yield event.result(Echo(text=event.open().read().decode(), role=event.role, kind=event.kind))
"""
SHOUT = """
from hooks import ResultData, hookimpl

reads = ("echo",)

class Shout(ResultData):
    type = "shout"
    text: str

@hookimpl
def on_text(events):
    for event in events:
        yield event.result(Shout(text=event.open().read().decode().upper()))
"""


@pytest.fixture
def place(tmp_path, plugin_path):
    made = Place(tmp_path, plugin_path)
    for name, source in (("hears", HEARS), ("echo", ECHO), ("shout", SHOUT)):
        install_plugin(plugin_path, name, source)
    made.settings["plugins"] = {**made.config.plugins, "reader": {"enabled": False}}
    return made


PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c6360000000020001e221bc330000"
    "000049454e44ae426082"
)


async def sidecar_of(place, name):
    """What is found in a picture of that name, by plugin and type."""
    async with place.running():
        (place.inbox / name).write_bytes(PNG)
        path = place.outbox / f"{name}.json"
        await until(path.exists, 120)
    results = json.loads(path.read_bytes())["results"]
    return {(one["plugin"], one["type"]): one["data"] for one in results}


async def test_a_transcript_is_read_and_what_is_read_of_it_and_no_circle_closes(place):
    found = await sidecar_of(place, "words.png")
    assert found["echo", "echo"] == {"text": "words 0\nwords 1", "role": "transcript", "kind": "text"}
    assert found["shout", "shout"]["text"] == "WORDS 0\nWORDS 1"
    assert len(found) == 4
    assert not list(place.data.rglob("reading-*"))


async def test_who_speaks_is_read_with_what_is_said(place):
    found = await sidecar_of(place, "talk.png")
    assert found["echo", "echo"]["text"] == "Ana: talk 0\nBob: talk 1"


async def test_where_nothing_is_said_nothing_is_read(place):
    found = await sidecar_of(place, "silence.png")
    assert set(found) == {("hears", "transcript"), ("hears", "caption")}


async def test_a_route_says_whose_text_is_read(place):
    place.settings["route"] = [{"plugin": "echo", "results": ["caption"]}]
    found = await sidecar_of(place, "words.png")
    assert found["echo", "echo"] == {"text": "a picture", "role": "caption", "kind": "text"}


HOOKS = {"sees": frozenset({"on_image"}), "llm": frozenset({"on_text", "on_data"})}
PICTURE = ("image", "image/png", "inbox", "a.png")


@pytest.mark.parametrize(
    ("rules", "result", "about", "readers"),
    [
        ((), "transcript", PICTURE, ["llm"]),
        ((), "caption", PICTURE, []),
        ((), "transcript", ("text", "text/plain", "inbox", "a.txt"), []),
        ((Route(plugin="llm", results=("caption",)),), "caption", PICTURE, ["llm"]),
        ((Route(plugin="llm", results=("caption",)),), "transcript", PICTURE, []),
        ((Route(plugin="llm", results=("caption",), folders=("b",)),), "caption", PICTURE, []),
        ((Route(plugin="llm", kinds=("text",)),), "transcript", PICTURE, []),
        ((Route(plugin="*", kinds=("image",), enabled=False),), "transcript", PICTURE, []),
    ],
)
def test_by_default_a_plugin_reads_what_it_says_and_routes_may_say_otherwise(rules, result, about, readers):
    routes = Routes(rules, HOOKS, reads={"llm": ("transcript",)})
    assert routes.readers_of(result, *about) == readers


def test_a_route_for_results_takes_no_event_away():
    routes = Routes((Route(plugin="llm", results=("caption",)),), HOOKS, reads={"llm": ("transcript",)})
    assert routes.plugins_for("text", "text/plain", "inbox", "a.txt") == ["llm"]
