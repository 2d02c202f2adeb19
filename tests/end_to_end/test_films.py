"""A film through the whole host: what is seen and said stands at its second, in files, in answers and in the search."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from host.app import open_app
from host.config import Config
from plugins.programs import find_ffmpeg
from tests.end_to_end.host_process import Place, run_once
from tests.plugin_kit import BUILT_IN_OFF
from tests.plugins.vision.films import SCENES, shots, tone
from tools.films import RATE, Heard, write_film
from tools.spoken_world import Espeak, Voice

LENGTHS = (4.0, 5.0, 3.04, 6.0, 4.0, 4.0)
SPOKEN = {1.5: "turn on the kitchen light", 10.0: "what is the weather today", 19.25: "open the garden door"}
ROUND = sum(LENGTHS)
# Of the film that goes through the whole host; with more than half a minute it has 720 lines.
MINUTES = float(os.environ.get("SENSORIUM_TEST_FILM_MINUTES", "0.4"))
ROUNDS = max(1, round(60 * MINUTES / ROUND))
ON: dict[str, Any] = {}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    chosen = {"video": {"every": 1}, "timeline": ON, "clip": {"labels": [f"{s.colour} {s.subject}" for s in SCENES]}}
    return Place(tmp_path, plugins={**BUILT_IN_OFF, **chosen, "whisper": ON})


@pytest.fixture(scope="session")
def known_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures and sentences of which it is known when they come."""
    espeak, voice = Espeak(), Voice("en-us+m5", speed=150)
    path = tmp_path_factory.mktemp("films") / "holiday.mp4"
    heard = [Heard(second, espeak.say(text, voice).samples) for second, text in SPOKEN.items()]
    write_film(path, shots(*LENGTHS), heard, key_frame_every=50)
    return path


async def asked(place: Place, question: str, *arguments: Any, **options: Any) -> Any:
    async with open_app(Config.model_validate(place.config())) as app:
        return await getattr(app, question)(*arguments, **options)


@pytest.fixture
def film(tmp_path: Path, known_film: Path) -> Path:
    """The known film, so many times over, with sound that was written as one."""
    if ROUNDS == 1:
        return known_film
    one, sound, path = tmp_path / "one.mp4", tmp_path / "sound.mp4", tmp_path / "long.mp4"
    write_film(one, shots(*LENGTHS), size=(1280, 720), key_frame_every=50)
    say = {text: Espeak().say(text, Voice("en-us+m5", speed=150)).samples for text in SPOKEN.values()}
    write_film(sound, [], [Heard(second, say[text]) for second, text in said().items()])
    loop = ["-stream_loop", str(ROUNDS - 1), "-i", str(one), "-i", str(sound), "-map", "0:v", "-map", "1:a"]
    subprocess.run([find_ffmpeg(None), "-nostdin", "-v", "error", *loop, "-c", "copy", str(path)], check=True)
    return path


def said() -> dict[float, str]:
    """What is said at which second of all rounds."""
    return {number * ROUND + second: text for number in range(ROUNDS) for second, text in SPOKEN.items()}


@pytest.mark.timeout(600 + 300 * MINUTES)
def test_a_film_is_told_by_time(place, film):
    (place.inbox / "trips").mkdir()
    (place.inbox / "trips" / "holiday.mp4").write_bytes(film.read_bytes())
    assert run_once(place, limit=500 + 300 * MINUTES) == 0, place.last_log()
    written = sorted(str(path.relative_to(place.outbox)) for path in place.outbox.rglob("*") if path.is_file())
    assert written == [f"trips/holiday.mp4{one}" for one in (".contact.jpg", ".json", ".srt", ".timeline.json")]
    line = json.loads((place.outbox / "trips" / "holiday.mp4.timeline.json").read_bytes())
    starts = np.cumsum((0, *(LENGTHS * ROUNDS)))[:-1]
    assert [one["moment"] for one in line["frames"]] == pytest.approx(np.ceil(starts.round(2)), abs=0.3)
    names = [one["labels"][0]["name"] for one in line["frames"]]
    assert names == [f"{scene.colour} {scene.subject}" for scene in SCENES] * ROUNDS
    assert [one["text"].lower().strip(" .?") for one in line["speech"]] == list(said().values())
    assert [one["start"] for one in line["speech"]] == pytest.approx(list(said()), abs=0.3)
    assert line["problems"] == []
    subtitles = (place.outbox / "trips" / "holiday.mp4.srt").read_text()
    assert subtitles.count("-->") == len(said())
    assert Image.open(place.outbox / "trips" / "holiday.mp4.contact.jpg").width == 1920
    assert [path for path in (place.data / "scratch" / "video").rglob("*") if path.is_file()] == []
    check_answers(place, "trips/holiday.mp4")


def check_answers(place: Place, origin: str) -> None:
    """What is asked of the host leads to the film and its moment."""
    path = str(place.inbox / origin)
    explanation = asyncio.run(asked(place, "why", path))
    assert explanation.state == "done"
    made = f"{6 * ROUNDS + 1} further event(s) were made of it"
    assert any(made in sentence for sentence in explanation.sentences)
    [frame] = place.rows("SELECT id FROM events WHERE role = 'frame' AND moment > 8 AND moment < 10")
    said = asyncio.run(asked(place, "why", frame["id"])).sentences
    assert said[0].startswith("It is the frame at 00:00:09 of holiday.mp4")
    [view] = asyncio.run(asked(place, "results", frame["id"]))
    assert (view.event.origin, view.event.role) == (origin, "frame")
    hit, *_ = asyncio.run(asked(place, "search", "a red boat in the water"))
    assert (hit.origin, hit.kind, hit.start % ROUND) == (origin, "video", pytest.approx(19, abs=1))
    hit, *_ = asyncio.run(asked(place, "search", "garden door"))
    assert hit.origin == origin
    assert hit.start % ROUND == pytest.approx(19.25, abs=0.3)


@pytest.mark.timeout(600)
def test_a_film_on_which_the_host_was_killed_again_and_again_is_whole_in_the_end(place, known_film):
    place.plugins = {**BUILT_IN_OFF, "video": {"every": 1}, "timeline": ON, "metadata": ON}
    (place.inbox / "holiday.mp4").write_bytes(known_film.read_bytes())
    for step in ("worker busy", "derived in library", "results committed", "results committed"):
        assert run_once(place, kill_at=(step, 1)) == -signal.SIGKILL, (step, place.last_log())
    assert run_once(place) == 0, place.last_log()
    roles = place.rows("SELECT role, count(*) AS n FROM events GROUP BY role ORDER BY role")
    assert [tuple(row) for row in roles] == [("", 1), ("frame", 6), ("sound", 1)]
    results = place.rows("SELECT plugin, type, count(*) AS n FROM results GROUP BY plugin, type ORDER BY plugin, type")
    assert [tuple(row) for row in results] == [
        ("metadata", "image_info", 6), ("metadata", "thumbnail", 6), ("timeline", "artifact", 2),
        ("timeline", "timeline", 1), ("video", "video_info", 1),
    ]  # fmt: skip
    assert place.count("deliveries") == 0


def test_broken_films_get_their_verdict_and_neighbours_are_worked_off(place, known_film):
    place.plugins = {**BUILT_IN_OFF, "video": {"every": 2}, "timeline": ON}
    whole = known_film.read_bytes()
    silent, dark = place.root / "silent.mp4", place.root / "dark.mp4"
    write_film(silent, shots(2, 2))
    write_film(dark, [], [Heard(0.5, tone())])
    films = {
        "cut.mp4": whole[: len(whole) // 2],
        "header.mp4": whole[:64],
        "torn.mp4": whole[:200] + bytes(len(whole) - 200),
        "list.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n/etc/hostname\n#EXT-X-ENDLIST\n",
        "script.mp4": b"ffconcat version 1.0\nfile '/etc/hostname'\n",
        "silent.mp4": silent.read_bytes(),
        "dark.mp4": dark.read_bytes(),
        "good.mp4": whole,
    }
    for name, content in films.items():
        (place.inbox / name).write_bytes(content)
    assert run_once(place) == 0, place.last_log()
    sidecars = {name: json.loads((place.outbox / f"{name}.json").read_bytes()) for name in films}
    for name in ("cut.mp4", "header.mp4", "torn.mp4"):
        [failure] = sidecars[name]["failures"]
        assert failure["code"] == "bad_input"
        assert "No format of films" in failure["message"] or "Nothing of it can be decoded" in failure["message"]
    for name in ("list.mp4", "script.mp4"):  # they are texts, whatever they are called
        assert (sidecars[name]["event"]["kind"], sidecars[name]["failures"]) == ("text", [])
    for name in ("silent.mp4", "dark.mp4", "good.mp4"):
        assert sidecars[name]["failures"] == []
        assert (place.outbox / f"{name}.timeline.json").exists()
    assert place.count("events WHERE role = 'sound'") == 2
    assert (RATE, place.count("jobs WHERE state = 'queued'")) == (16_000, 0)


@pytest.mark.timeout(600)
def test_what_is_found_later_updates_the_timeline(place, known_film):
    place.plugins = {**BUILT_IN_OFF, "video": {"every": 1}, "timeline": ON}
    (place.inbox / "holiday.mp4").write_bytes(known_film.read_bytes())
    assert run_once(place) == 0, place.last_log()
    timeline = place.outbox / "holiday.mp4.timeline.json"
    assert json.loads(timeline.read_bytes())["frames"][0]["labels"] == []
    place.plugins["clip"] = {"labels": [f"{scene.colour} {scene.subject}" for scene in SCENES]}
    assert asyncio.run(asked(place, "requeue", [str(place.inbox / "holiday.mp4")], plugin="video", done=True)) == 1
    assert run_once(place, limit=240) == 0, place.last_log()
    names = [one["labels"][0]["name"] for one in json.loads(timeline.read_bytes())["frames"]]
    assert names == [f"{scene.colour} {scene.subject}" for scene in SCENES]
