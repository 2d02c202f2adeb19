"""Texts in the folder `speak` become recordings of what they say, which are heard; others stay silent."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import pytest

from host.config import Config
from tests.end_to_end.host_process import Place, run_once
from tests.end_to_end.mqtt_host import MqttPlace, device, recording, running
from tests.mosquitto import mosquitto
from tests.plugin_kit import BUILT_IN_OFF

SAID = "turn on the kitchen light"
ROUTES = [route.model_dump(mode="json", exclude_defaults=True) for route in Config().routes]


class SpeakingPlace(Place):
    """A host that speaks, as it comes, and that listens."""

    def config(self) -> dict[str, Any]:
        return {**super().config(), "route": ROUTES}


def place_that_speaks(root: Path) -> SpeakingPlace:
    return SpeakingPlace(root, plugins={**BUILT_IN_OFF, "espeak": {}, "whisper": {}})


def sidecar(place: Place, name: str) -> dict[str, Any]:
    return dict(json.loads((place.outbox / f"{name}.json").read_bytes()))


def test_what_is_dropped_into_speak_is_said_and_what_was_said_is_heard(tmp_path):
    place = place_that_speaks(tmp_path)
    (place.inbox / "speak").mkdir()
    (place.inbox / "speak" / "note.txt").write_text(SAID)
    (place.inbox / "speak" / "nothing.txt").write_text("🎉")
    (place.inbox / "silent.txt").write_text(SAID + ", please")
    assert run_once(place) == 0
    [speech] = sidecar(place, "speak/note.txt")["results"]
    assert (speech["type"], speech["data"]["synthetic"], speech["data"]["language"]) == ("speech", True, "en")
    assert [one["code"] for one in sidecar(place, "speak/nothing.txt")["failures"]] == ["bad_input"]
    assert sidecar(place, "silent.txt")["results"] == []
    spoken = place.outbox / "speak" / "note.wav"
    with wave.open(str(spoken)) as file:
        assert file.getnframes() / file.getframerate() == pytest.approx(speech["data"]["duration"], abs=0.001)
    assert sorted(path.name for path in place.outbox.rglob("*.wav")) == ["note.wav"]
    assert not [path for path in (place.data / "scratch" / "espeak").rglob("*") if path.is_file()]
    shutil.copyfile(spoken, place.inbox / "heard.wav")
    assert run_once(place) == 0
    [heard] = sidecar(place, "heard.wav")["results"]
    assert heard["data"]["text"] == SAID


def test_say_speaks_without_a_host(tmp_path):
    command = [sys.executable, "-m", "host", "say", "guten morgen", "--voice", "de+f2", "--out", "a.wav", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["plugin"], found["voice"], found["path"]) == ("espeak", "espeak-ng de+f2", str(tmp_path / "a.wav"))
    with wave.open(str(tmp_path / "a.wav")) as file:
        assert file.getnframes() > 10_000
    wrong = [*command[:4], "x", "--voice", "nobody", "--out", "b.wav"]
    done = subprocess.run(wrong, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 6
    assert "There is no voice of espeak-ng 'nobody'" in done.stderr
    assert not (tmp_path / "b.wav").exists()


class SpeakingMqttPlace(MqttPlace):
    """The same, by way of a broker."""

    subscribe = ({"topic": "sensorium/in/{device}/#"},)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "route": ROUTES}


async def test_devices_get_speech_as_a_file_on_a_topic_and_as_an_answer(tmp_path):
    place = SpeakingMqttPlace(tmp_path / "place", plugins={**BUILT_IN_OFF, "espeak": {}})
    asked = {"transaction": 7, "text": "guten morgen", "meta": {"voice": "de", "speed": 1.5}}
    with mosquitto(tmp_path / "broker") as place.broker:
        async with recording(place, "sensorium/#") as recorder, running(place), device(place) as connection:
            await asyncio.gather(
                connection.send("sensorium/in/porch/speak", b"somebody is at the door", qos=1),
                connection.send("sensorium/in/porch/note", b"nobody says this", qos=1),
                connection.send("sensorium/request/espeak", json.dumps(asked).encode(), qos=1),
            )
            await recorder.until(
                lambda: recorder.on("sensorium/results/porch/espeak") and recorder.on("sensorium/response/espeak")
            )
            [audio] = recorder.on("sensorium/artifacts/porch/espeak")
            [result] = recorder.bodies("results")
            [answer] = [json.loads(one.payload) for one in recorder.on("sensorium/response/espeak")]
    assert audio.payload.startswith(b"RIFF")
    assert result["results"][0]["data"]["media_type"] == "audio/wav"
    assert result["event"]["origin"] == "sensorium/in/porch/speak"
    assert (answer["transaction"], answer["error"]) == (7, None)
    [spoken] = answer["results"]
    assert spoken["data"]["voice"] == "espeak-ng de"
    assert base64.b64decode(spoken["blob"]).startswith(b"RIFF")
