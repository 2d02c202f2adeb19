"""A meeting is spoken, heard, summarised and read out on a machine that has room for one of the models at a time.

speech of espeak-ng → inbox → transcript (Whisper) → summary (language model) → inbox/speak → recording (espeak-ng)

The host is killed between any two steps, and nothing is lost, done twice, or loaded again and again.
`SENSORIUM_TEST_MEETINGS` sets how many meetings there are.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import wave
from pathlib import Path
from typing import Any

import pytest

from host.config import Config
from tests.end_to_end.host_process import Place, run_once
from tests.plugin_kit import BUILT_IN_OFF
from tools.spoken_world import Espeak, Take, Voice, write_recording

MEETINGS = int(os.environ.get("SENSORIUM_TEST_MEETINGS", "3"))
MODELS = ("whisper", "llm")
KILLS = (("committed", 1), ("worker busy", 1), ("results committed", 1), ("worker busy", 2), ("before sidecar", 1))
KILLS_OF_SPEECH = (("committed", 1), ("results committed", 1), ("sidecar written", 1))
VOICE = Voice("en-us+m5", 150)
SAID = ("call anna tomorrow", "open the garden door", "turn on the kitchen light", "good morning everyone")
LIMIT = 240.0


class Office(Place):
    """A host that hears and reads, with so many MB for models."""

    budget_mb = 4000

    def config(self) -> dict[str, Any]:
        llm = {"model": "bundled", "tasks": {"transcript": ["summary"]}}
        return {
            **super().config(),
            "devices": {"use_gpu": False, "cpu_memory_mb": self.budget_mb, "threads": 1},
            "plugins": {**BUILT_IN_OFF, "whisper": {}, "llm": llm, "espeak": {}},
            "route": [route.model_dump(mode="json", exclude_defaults=True) for route in Config().routes],
        }

    def read_out(self, name: str, text: str) -> None:
        """Drop a text where texts are spoken."""
        folder = self.inbox / "speak"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.txt").write_text(text)

    def meet(self, name: str, *sentences: str) -> None:
        """Speak, and drop the recording into the inbox."""
        espeak = Espeak()
        parts = [part for sentence in sentences for part in (0.6, espeak.say(sentence, VOICE), 0.8)]
        write_recording(self.inbox / name, Take.of(parts).samples)

    def found(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """What the sidecar says, by the type of the result."""
        sidecar = json.loads((self.outbox / f"{name}.json").read_bytes())
        assert sidecar["failures"] == []
        results: dict[str, list[dict[str, Any]]] = {}
        for result in sidecar["results"]:
            results.setdefault(result["type"], []).append(result["data"])
        return results

    def stays(self) -> list[tuple[float, float, str]]:
        """When which model was in memory."""
        rows = self.rows("SELECT loading, gone, plugin FROM residencies ORDER BY loading")
        return [(row["loading"], row["gone"], row["plugin"]) for row in rows if row["plugin"] in MODELS]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


@pytest.mark.timeout(60 + LIMIT * (len(KILLS) + len(KILLS_OF_SPEECH) + 3))
def test_meetings_are_heard_summarised_and_read_out_one_model_at_a_time_whatever_is_killed(office):
    office.meet("first.wav", *SAID, *SAID)
    assert run_once(office, limit=LIMIT) == 0, office.last_log()
    learned = {row["plugin"]: row["memory_mb"] for row in office.rows("SELECT plugin, memory_mb FROM costs")}
    office.budget_mb = int(learned["whisper"] + learned["llm"]) - 1  # what was learned only grows: never both
    before = len(office.stays())

    names = [f"meeting-{number}.wav" for number in range(MEETINGS)]
    for number, name in enumerate(names):
        office.meet(name, *SAID[number % 3 :], SAID[number % 4])
    for step, nth in KILLS:
        assert run_once(office, limit=LIMIT, kill_at=(step, nth)) == -signal.SIGKILL, (step, office.last_log())
    assert run_once(office, limit=LIMIT) == 0, office.last_log()
    check_that_all_was_heard(office, names)
    stays = office.stays()[before:]
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(stays)), "two models were there at once"
    for model in MODELS:
        loads = [plugin for _, _, plugin in stays].count(model)
        assert 1 <= loads <= len(KILLS) + 2, f"{model} was loaded {loads} times"

    summaries = {name: office.found(name)["summary"][0]["text"] for name in names}
    for name, text in summaries.items():
        office.read_out(name, text)
    for step, nth in KILLS_OF_SPEECH:
        assert run_once(office, limit=LIMIT, kill_at=(step, nth)) == -signal.SIGKILL, (step, office.last_log())
    assert run_once(office, limit=LIMIT) == 0, office.last_log()
    check_that_all_was_read_out(office, summaries)
    later = [plugin for _, _, plugin in office.stays()[before + len(stays) :]]
    assert set(later) <= {"llm"}, "nobody speaks in a text"
    assert len(later) <= len(KILLS_OF_SPEECH) + 1
    assert office.count("jobs WHERE state != 'done'") == office.count("deliveries") == 0


def check_that_all_was_heard(office: Office, names: list[str]) -> None:
    for number, name in enumerate(names):
        found = office.found(name)
        assert {kind: len(results) for kind, results in found.items()} == {"transcript": 1, "summary": 1}
        assert found["transcript"][0]["text"].split("\n") == [*SAID[number % 3 :], SAID[number % 4]]
        assert found["summary"][0]["text"].strip()
    assert office.count("arrivals") == office.count("events") == len(names) + 1
    assert office.count("results") == 2 * (len(names) + 1)
    assert office.count("jobs WHERE state != 'done'") == office.count("deliveries") == 0


def check_that_all_was_read_out(office: Office, texts: dict[str, str]) -> None:
    """Each text is one recording that lasts about as long as saying it does."""
    for name, text in texts.items():
        (speech,) = office.found(f"speak/{name}.txt")["speech"]
        with wave.open(str(office.outbox / "speak" / f"{name}.wav")) as file:
            seconds = file.getnframes() / file.getframerate()
        assert seconds == pytest.approx(speech["duration"], abs=0.01)
        assert seconds > 0.1 * len(text.split())
    assert len(list(office.outbox.rglob("*.wav"))) == len(texts)
