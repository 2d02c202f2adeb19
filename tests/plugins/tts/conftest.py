"""What is spoken in the tests, and where it goes: the plugin as the host calls it."""

from __future__ import annotations

import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hooks import Context, Failure, Result, Speech, Text
from plugins.tts.speaking import Speaker
from tests.worker_client import CPU


@dataclass
class Desk:
    """Where texts lie and recordings are made; what is told of their progress is in `progress`."""

    folder: Path
    progress: list[tuple[float, str]] = field(default_factory=list)

    def event(self, text: str | bytes, name: str = "note.txt", **meta: Any) -> Text:
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return Text(
            id=name, media_type="text/plain", sha256="0" * 64, size=path.stat().st_size, path=path, name=name,
            source="test", origin=name, created=datetime(2026, 11, 21, tzinfo=UTC),
            metadata={"meta": meta} if meta else {},
        )  # fmt: skip

    @property
    def context(self) -> Context:
        def report(_: str, fraction: float, text: str) -> None:
            self.progress.append((fraction, text))

        return Context(device=CPU, scratch=self.folder / "scratch", report=report)

    def outcome(self, speaker: Speaker, text: str | bytes, **meta: Any) -> Result | Failure:
        [found] = speaker.speak([self.event(text, **meta)], self.context)
        return found

    def speech(self, speaker: Speaker, text: str | bytes, **meta: Any) -> Speech:
        found = self.outcome(speaker, text, **meta)
        assert isinstance(found, Result), found
        assert isinstance(found.data, Speech)
        return found.data

    def refusal(self, speaker: Speaker, text: str | bytes, **meta: Any) -> str:
        found = self.outcome(speaker, text, **meta)
        assert isinstance(found, Failure), found
        assert not list((self.folder / "scratch").glob("*")), "nothing is left behind"
        return found.reason


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture(scope="session")
def samples_of() -> Callable[[Speech], np.ndarray]:
    """The samples of a recording, which must be what the result says."""

    def read(speech: Speech) -> np.ndarray:
        assert speech.file is not None
        with wave.open(str(speech.file)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, speech.sample_rate)
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert len(samples) / speech.sample_rate == pytest.approx(speech.duration, abs=0.001)
        return samples

    return read
