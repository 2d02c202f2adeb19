"""Spoken sentences arrive as recordings of any kind and become transcripts and subtitles, also through crashes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.end_to_end.host_process import Place, host, run_once, until
from tests.plugin_kit import BUILT_IN_OFF
from tools.spoken_world import RATE, Espeak, Take, Voice, silence, write_recording, write_wav

MINUTES = float(os.environ.get("SENSORIUM_TEST_RECORDING_MINUTES", "4.75"))  # of the recording amid which the host dies
SPOKEN = {
    "light.wav": ("turn on the kitchen light", Voice("en-us+m5", 140), "en"),
    "runner.mp3": ("runner one two five finished", Voice("en-gb-x-rp+f4", 170), "en"),
    "door.ogg": ("open the garden door", Voice("en+Andrea", 200), "en"),
    "küche.m4a": ("schalte das licht in der küche an", Voice("de+steph2", 150), "de"),
    "bonjour.flac": ("bonjour tout le monde", Voice("fr+m6", 160), "fr"),
}


def place_with_whisper(root: Path, **settings: Any) -> Place:
    return Place(root, plugins={**BUILT_IN_OFF, "whisper": settings})


def sidecar(place: Place, name: str) -> dict[str, Any]:
    found = json.loads((place.outbox / f"{name}.json").read_bytes())
    assert isinstance(found, dict)
    return found


def transcript(place: Place, name: str) -> dict[str, Any]:
    [result] = sidecar(place, name)["results"]
    assert result["type"] == "transcript"
    return dict(result["data"])


@pytest.fixture(scope="module")
def espeak() -> Espeak:
    return Espeak()


def test_what_is_said_is_written_beside_each_recording(tmp_path, espeak):
    place = place_with_whisper(tmp_path)
    for name, (text, voice, _) in SPOKEN.items():
        write_recording(place.inbox / name, Take.of([0.3, espeak.say(text, voice), 0.5]).samples)
    assert run_once(place) == 0
    for name, (text, _, language) in SPOKEN.items():
        found = transcript(place, name)
        assert (found["text"], found["language"]) == (text, language), name
        subtitles = (place.outbox / f"{name}.srt").read_text()
        assert subtitles.startswith("1\n00:00:00,")
        assert subtitles.endswith(f"\n{text}\n")


@pytest.mark.timeout(120 + 120 * MINUTES)
def test_a_host_that_is_killed_amid_a_long_recording_goes_on_where_it_was(tmp_path, espeak):
    place = place_with_whisper(tmp_path, piece_seconds=45)
    limit = 100 + 50 * MINUTES
    texts = [text for text, _, language in SPOKEN.values() if language == "en"]
    speech = {text: espeak.say(text, Voice("en-us+m5", 150)) for text in texts}
    sentences = texts * round(MINUTES * 60 / sum(8.0 + one.seconds for one in speech.values()))
    take = Take.of([part for text in sentences for part in (1.0, speech[text], 7.0)])
    write_recording(place.inbox / "meeting.flac", take.samples)
    half = take.seconds // 45 // 2 - 1

    def finished_pieces() -> list[str]:
        return [line for notes in (place.data / "scratch").rglob("*.heard") for line in notes.read_text().splitlines()]

    with host(place) as process:
        until(lambda: len(finished_pieces()) >= max(2, half), limit=limit)
        process.kill()
        process.wait()
    before = finished_pieces()
    assert not (place.outbox / "meeting.flac.json").exists()
    assert run_once(place, limit=limit) == 0
    after = finished_pieces()
    ends = [json.loads(line)["end"] for line in after]
    assert after[: len(before)] == before, "a finished piece was heard again"
    assert ends == sorted(set(ends))
    assert len(after) > len(before)
    found = transcript(place, "meeting.flac")
    assert [segment["text"] for segment in found["segments"]] == sentences, "each sentence once"
    for segment, said in zip(found["segments"], take.said, strict=True):
        assert abs(segment["start"] - said.start) < 0.3
        assert abs(segment["end"] - said.end) < 0.3


def hostile(folder: Path) -> dict[str, str]:
    """Recordings that no recorder makes, and what becomes of each: `done`, `failed`, or no work for Whisper."""
    write_wav(folder / "none.wav", silence(0))
    write_wav(folder / "moment.wav", silence(0.1))
    write_wav(folder / "slow.wav", silence(1), rate=8)
    write_wav(folder / "fast.wav", silence(1), rate=2_000_000_000)
    write_wav(folder / "eight.wav", np.zeros((8, RATE), np.float32) + np.arange(8)[:, None] / 1e6)
    (folder / "text.wav").write_text("This is a text and no recording.")
    (folder / "list.wav").write_text(f"#EXTM3U\n#EXTINF:9,\nfile://{folder}/moment.wav\n#EXT-X-ENDLIST\n")
    whole = write_recording(folder / "whole.m4a", silence(20)).read_bytes()
    (folder / "torn.m4a").write_bytes(whole[: len(whole) // 2])
    (folder / "torn.wav").write_bytes((folder / "eight.wav").read_bytes()[:100_001])
    (folder / "noise.mp3").write_bytes(b"ID3\x04" + np.random.default_rng(0).bytes(50_000))
    return {
        "none.wav": "done", "moment.wav": "done", "slow.wav": "failed", "fast.wav": "failed", "eight.wav": "done",
        "text.wav": "", "list.wav": "", "whole.m4a": "done", "torn.m4a": "failed", "torn.wav": "done",
        "noise.mp3": "failed",
    }  # fmt: skip


def test_every_hostile_recording_gets_its_verdict_and_a_good_one_beside_them_its_transcript(tmp_path, espeak):
    place = place_with_whisper(tmp_path)
    expected = hostile(place.inbox)
    good = Take.of([0.3, espeak.say("good morning everyone", Voice("en-us+m5", 150)), 0.5])
    write_recording(place.inbox / "zz-good.wav", good.samples)
    assert run_once(place) == 0
    found = {name: sidecar(place, name) for name in expected}
    states = {name: "failed" if one["failures"] else "done" if one["results"] else "" for name, one in found.items()}
    assert states == expected
    for one in found.values():
        assert {failure["code"] for failure in one["failures"]} <= {"bad_input"}
        assert all(result["data"]["segments"] == [] for result in one["results"])
    assert transcript(place, "zz-good.wav")["text"] == "good morning everyone"
