"""What is said is summarised beside the recording, records get a table, models that do not fit together take turns."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.end_to_end.host_process import Place, run_once
from tests.plugin_kit import BUILT_IN_OFF
from tools.spoken_world import Espeak, Take, Voice, write_wav
from tools.train_llm.world import meeting, records

SENTENCES = ("turn on the kitchen light", "open the garden door")
BUDGET_MB = 500  # each of the two declares less, both together more


class Study(Place):
    """A host that hears and reads, with memory for one of the two at a time."""

    def config(self) -> dict[str, Any]:
        budget = {"use_gpu": False, "cpu_memory_mb": BUDGET_MB, "threads": 1}
        return {**super().config(), "devices": budget}


@pytest.fixture
def place(tmp_path: Path) -> Study:
    return Study(tmp_path, plugins={**BUILT_IN_OFF, "whisper": {}, "llm": {"context": 512}})


def results(place: Place, name: str) -> dict[str, Any]:
    found = json.loads((place.outbox / f"{name}.json").read_bytes())
    assert found["failures"] == []
    return {result["type"]: result for result in found["results"]}


def test_recordings_are_heard_then_read_and_records_get_a_table(place):
    espeak, random = Espeak(), Random(4)
    for number, sentence in enumerate(SENTENCES):
        take = Take.of([0.3, espeak.say(sentence, Voice("en-us+m5", 150)), 0.5])
        write_wav(place.inbox / f"talk{number}.wav", take.samples)
    said, rows = meeting(random, "test"), records(random, "test")
    (place.inbox / "meeting.txt").write_text(said.values["text"])
    (place.inbox / "rows.jsonl").write_text("\n".join(rows.values["samples"]))
    assert run_once(place) == 0
    for number, sentence in enumerate(SENTENCES):
        found = results(place, f"talk{number}.wav")
        assert found["transcript"]["data"]["text"] == sentence
        summary = found["summary"]
        assert summary["plugin"] == "llm"
        assert summary["data"]["generation"]["task"] == "summary"
        assert summary["provenance"]["model"] == "llm/bundled"
        assert summary["provenance"]["model_sha256"]
        assert (place.outbox / f"talk{number}.wav.json").is_file()
    assert results(place, "meeting.txt")["summary"]["data"]["text"] == said.answer
    schema = results(place, "rows.jsonl")["data_schema"]["data"]
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(schema["ddl"])
    jobs = place.rows("SELECT plugin, state, count(*) FROM jobs GROUP BY 1, 2 ORDER BY 1")
    assert [tuple(row) for row in jobs] == [("llm", "done", 4), ("whisper", "done", 2)]
    loads = place.rows("SELECT plugin, count(*) AS loads FROM residencies GROUP BY 1")
    assert all(row["loads"] <= 3 for row in loads), [tuple(row) for row in loads]


def test_a_task_is_tried_on_a_file_without_taking_it_in(place):
    case = meeting(Random(4), "test")
    note = place.root / "note.txt"
    note.write_text(case.values["text"])
    (place.root / "config.toml").write_text("[plugins.llm]\ncontext = 512\n")
    command = [sys.executable, "-m", "host", "tasks", "try", "summary", str(note), "--json"]
    told = subprocess.run(command, cwd=place.root, capture_output=True, text=True, timeout=250)
    assert told.returncode == 0, told.stderr
    (found,) = json.loads(told.stdout)
    assert found["data"]["text"] == case.answer
