"""What was said and written is found by its words: at once, exactly as long as it is there, with or without a host."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sqlite3
import wave
from importlib import resources
from pathlib import Path

import pytest

from host.app import App
from host.journal import Statement, open_journal
from host.sql.functions import passages_of
from tests.host.families import SPLITTER
from tests.host.journal_rows import arrives, finishes, requeues
from tests.host.working_host import Place
from tests.plugin_kit import install_plugin
from tests.until import until

# Hears what stands behind a recording's sound: a line for each sentence, with the second at which it begins.
LISTENER = """
from hooks import Caption, Embedding, Segment, Transcript, hookimpl

@hookimpl
def on_audio(events):
    for event in events:
        said = event.open().read().split(b"SAID", 1)[1].decode().splitlines()
        lines = [(float(line.split(" ", 1)[0]), line.split(" ", 1)[1]) for line in said]
        segments = [Segment(start=start, end=start + 2, text=text) for start, text in lines]
        yield event.result(Transcript.of(segments, language="en", language_probability=1, duration=9999))
"""


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    install_plugin(plugin_path, "listener", LISTENER)
    return Place(tmp_path / "place", plugin_path)


def recording(place: Place, name: str, *lines: str) -> str:
    sound = io.BytesIO()
    with wave.open(sound, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(3200))
    path = Path(place.file(name, ""))
    path.write_bytes(sound.getvalue() + b"SAID" + "\n".join(lines).encode())
    return str(path)


def content(path: str) -> bytes:
    return Path(path).read_bytes()


async def taken(app: App, *paths: str) -> list[str]:
    return [answer.event for answer in await app.submit(list(paths), wait=True)]


async def test_a_word_that_was_said_is_found_at_its_second(place):
    talk = ("3.5 Good morning everybody", "751 the budget for next year", "1500 goodbye")
    async with place.open() as app:
        [event] = await taken(app, recording(place, "talk.wav", *talk))
        (hit,) = await app.search("Budget")
        assert (hit.event, hit.start, hit.end, hit.part) == (event, 751, 753, None)
        assert (hit.snippet, hit.matched, hit.score) == ("the [budget] for next year", ["transcript"], 1.0)
        assert content(hit.path).startswith(b"RIFF")


async def test_of_what_is_said_within_seconds_the_best_is_one_hit(place):
    lines = ("60 a boat", "64 the boat boat boat", "68 boat ahoy", "300 a boat again")
    async with place.open() as app:
        await taken(app, recording(place, "film.wav", *lines))
        assert [hit.start for hit in await app.search("boat")] == [64, 300]


async def test_words_are_found_in_captions_and_the_picture_beside_them(place):
    async with place.open() as app:
        await taken(app, place.file("a.txt", "apple"), place.file("i.txt", "icecream"), place.file("z.txt", "zebra"))
        hits = await app.search("8")
        assert Path(hits[0].origin).name == "i.txt", "its caption says so, and its vector is the one nearest to an 8"
        assert (hits[0].snippet, hits[0].start, hits[0].score) == ("[8]", None, 1.0)
        assert [hit.matched for hit in hits] == [["caption", "picture"], ["picture"], ["picture"]]
        assert [hit.matched for hit in await app.search("8", words=True)] == [["caption"]]


@pytest.mark.parametrize(("kind", "names"), [("audio", ["talk.wav"]), ("text", ["note.txt"]), ("video", [])])
async def test_only_files_of_the_kind_that_was_asked_for(place, kind, names):
    async with place.open() as app:
        await taken(app, recording(place, "talk.wav", "1 the number is 4"), place.file("note.txt", "four"))
        assert [Path(hit.origin).name for hit in await app.search("4", kind=kind)] == names
        assert len(await app.search("4", words=True)) == 2


async def test_a_search_for_words_loads_no_model(place):
    async with place.running() as app:
        await taken(app, recording(place, "talk.wav", "1 a number"), place.file("note.txt", "four"))
        await app.unload()
        await until(lambda: app.leases.slots["reader"].state == "unloaded")
        await app.search("number", kind="audio")
        await app.search("number", words=True)
        assert app.leases.slots["reader"].state == "unloaded"


async def test_where_nothing_has_a_vector_no_model_is_loaded(place):
    async with place.running() as app:
        await taken(app, recording(place, "talk.wav", "1 a number"))
        assert len(await app.search("number")) == 1
        assert app.leases.slots["reader"].state == "unloaded"


async def test_beside_a_host_that_runs_a_reader_finds_what_was_just_said(place):
    async with place.running() as app, place.open(read_only=True) as reader:
        await taken(app, recording(place, "talk.wav", "1 a number"))
        assert len(await reader.search("number", words=True)) == 1


async def test_more_finds_than_moments_are_looked_through_to_the_end(place):
    lines = [f"{second} boat boat" for second in range(0, 400, 2)]
    async with place.open() as app:
        await taken(app, recording(place, "film.wav", *lines), recording(place, "short.wav", "7 a very small boat"))
        names = [Path(hit.origin).name for hit in await app.search("boat", limit=30)]
        assert names.count("short.wav") == 1
        assert len(names) == len(set(names)) + names.count("film.wav") - 1


# -- who said it -------------------------------------------------------------------------------------------------------

TURNS = """
from hooks import SpeakerTurns, Turn, hookimpl

@hookimpl
def on_audio(events):
    for event in events:
        turns = [Turn(start=0, end=10, speaker="anna"), Turn(start=10, end=99, speaker="bob")]
        yield event.result(SpeakerTurns(turns=turns))
"""


async def test_where_the_turns_are_known_a_transcript_says_who_speaks(place):
    install_plugin(place.site, "turns", TURNS)
    async with place.open() as app:
        [event] = await taken(app, recording(place, "talk.wav", "1 good morning", "20 hello", "200 anybody there"))
        view = await app.view(event)
        (transcript,) = [one.data for one in view.results if one.type == "transcript"]
        assert [segment["speaker"] for segment in transcript["segments"]] == ["anna", "bob", ""]


# -- in what was made of a file ---------------------------------------------------------------------------------------


@pytest.fixture
def film(place: Place) -> str:
    """A table of which a plugin makes events, as of a film; their vectors and captions are known."""
    install_plugin(place.site, "splitter", SPLITTER)
    return place.file("film.csv", "5,apple,x\n60,zebras,y\n300,icecream,z\n")


async def test_what_is_found_in_a_part_is_found_in_the_file_at_its_moment(place, film):
    async with place.running() as app:
        [event] = await taken(app, film)
        await until(app.dispatcher.is_idle)
        best, *others = await app.search("8")
        assert (best.event, best.origin, best.start, best.end) == (event, film, 300, 300)
        assert (best.snippet, best.matched, best.score) == ("[8]", ["caption", "picture"], 1.0)
        assert (await app.view(best.part)).event.role == "line"
        assert [(hit.event, hit.start) for hit in others] == [(event, 5), (event, 60)]
        (hit,) = await app.search("8", words=True, kind="data")
        assert (hit.kind, hit.start) == ("data", 300)
        assert await app.search("8", words=True, kind="text") == []


async def test_what_a_file_is_no_longer_made_into_is_not_found(place, film):
    async with place.running() as app:
        await taken(app, film)
        await until(app.dispatcher.is_idle)
        await app.journal._writer.execute("UPDATE events SET stale = 1 WHERE moment = 300")
        assert [hit.start for hit in await app.search("8")] == [5, 60]
        assert await app.search("8", words=True) == []


# -- kept by the journal -----------------------------------------------------------------------------------------------


def said(text: str) -> str:
    return json.dumps({"text": text})


async def words_of(journal) -> list[str]:
    return [row["body"] for row in await journal._reader.execute_fetchall("SELECT body FROM passages ORDER BY rowid")]


async def test_words_are_there_as_long_as_their_result(journal):
    await journal.write(*arrives("a", "1.png", ["clip"]))
    [job] = await journal.rows("jobs_of_event", event_id="a")
    await journal.write(*finishes(job["seq"], "a", "clip", said("old words"), results=2))
    assert await words_of(journal) == ["old words", "old words"]
    await journal.write(*requeues(job["seq"]))
    await journal.write(*finishes(job["seq"], "a", "clip", said("new words")))
    assert await words_of(journal) == ["new words"]
    await journal._writer.execute("UPDATE results SET data = ?", [said("other words")])
    assert await words_of(journal) == ["other words"]
    await journal._writer.execute("DELETE FROM events")
    assert await words_of(journal) == []


async def test_words_are_committed_with_their_result_or_not_at_all(journal):
    await journal.write(*arrives("a", "1.png", ["clip"]))
    [job] = await journal.rows("jobs_of_event", event_id="a")
    broken = Statement("insert_arrival", [{}])
    with pytest.raises(Exception, match="binding"):
        await journal.write(*finishes(job["seq"], "a", "clip", said("never")), broken)
    assert await words_of(journal) == []


async def test_results_from_before_there_was_a_search_are_found_after_it(tmp_path):
    path = tmp_path / "journal.db"
    scripts = sorted(entry.name for entry in resources.files("host.sql").iterdir() if entry.name[:4].isdigit())
    older = [name for name in scripts if name < "0007"]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        for name in older:
            connection.executescript(resources.files("host.sql").joinpath(name).read_text())
        connection.execute(f"PRAGMA user_version = {len(older)}")
        connection.execute(
            "INSERT INTO events (id, kind, media_type, sha256, size, location, name, source, origin, created) "
            "VALUES ('a', 'audio', 'audio/wav', 'a', 1, 'a', 'a', 'inbox', 'a', 0)"
        )
        connection.execute("INSERT INTO jobs (event_id, plugin, state, queued) VALUES ('a', 'whisper', 'done', 0)")
        data = {"text": "one\ntwo", "segments": [{"start": 1, "end": 2, "text": "one"}, {"start": 3, "text": "two"}]}
        connection.execute(
            "INSERT INTO results (event_id, plugin, ordinal, type, version, data, provenance, created) "
            "VALUES ('a', 'whisper', 0, 'transcript', 1, ?, '{}', 0)", [json.dumps(data)]
        )  # fmt: skip
        connection.commit()
    async with open_journal(path) as journal:
        rows = await journal.rows("find_passages", match='"two"', kind="audio", events=None, limit=5)
        assert [(row["event_id"], row["type"], row["begins"], row["ends"]) for row in rows] == [
            ("a", "transcript", 3.0, None)
        ]


@pytest.mark.parametrize(
    ("data", "passages"),
    [
        ({"text": "a cat"}, [["a cat", None, None]]),
        ({"text": "", "segments": []}, []),
        ({"text": "x", "segments": [{"text": "x", "start": 1, "end": 2.5}]}, [["x", 1.0, 2.5]]),
        ({"segments": [{"text": 3}, 4, {"text": "x", "start": "soon", "end": None}]}, [["x", None, None]]),
        ({"segments": "all", "text": "x"}, [["x", None, None]]),
        ({"labels": [{"name": "cat", "score": 0.7}, {"name": "dog", "score": 0.2}]}, [["cat", None, None]]),
        ({"labels": [{"name": "cat", "score": 0.4}]}, []),
        ({"labels": []}, []),
        ({"speech": [{"text": "said"}], "subtitles": [{"text": "x", "start": 1, "end": 2}]}, [["x", 1.0, 2.0]]),
        ({"speech": [{"text": "said"}], "frames": [{"caption": "a cat"}], "subtitles": []}, []),
        ([1, 2], []),
        ({"text": 3}, []),
    ],
)
def test_what_of_a_result_can_be_searched(data, passages):
    assert json.loads(passages_of(json.dumps(data))) == passages


def test_what_is_no_json_has_no_words():
    assert passages_of("a text") == "[]"


async def test_a_search_to_read_only_leaves_no_file(place):
    async with place.open() as app:
        await taken(app, place.file("a.txt", "apple"))
    before = sorted(place.data.rglob("*"))
    async with place.open(read_only=True) as one, place.open(read_only=True) as other:
        found = await asyncio.gather(one.search("a"), other.search("a"))
        assert [len(hits) for hits in found] == [1, 1]
    assert sorted(path for path in place.data.rglob("*") if not path.name.startswith("journal.db-")) == [
        path for path in before if not path.name.startswith("journal.db-")
    ]
