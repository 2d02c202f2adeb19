"""What is said and heard in the tests: held-out voices of espeak-ng, and the plugin as the host calls it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from hooks import Audio, Context, Failure, Result
from plugins.audio import whisper
from plugins.audio.hearing import Hearing
from plugins.audio.whisper import WhisperSettings
from tests.worker_client import CPU
from tools.spoken_world import Espeak, Speech, Take, Voice, write_wav

VOICE = Voice("en-us+m5", speed=150)
SENTENCES = ("turn on the kitchen light", "open the garden door", "what is the weather today")


@pytest.fixture(scope="session")
def espeak() -> Espeak:
    return Espeak()


@pytest.fixture(scope="session")
def say(espeak: Espeak) -> Callable[..., Speech]:
    """Speech, by a voice that training never heard unless told otherwise."""
    return lambda text, voice=VOICE: espeak.say(text, voice)


@pytest.fixture(scope="session")
def take(say: Callable[..., Speech]) -> Take:
    """Three sentences with pauses between."""
    return Take.of([0.4, *(part for text in SENTENCES for part in (say(text), 1.0))])


@pytest.fixture(scope="session")
def bundled() -> Hearing:
    """The bundled model as it is by default."""
    return whisper.load(device=CPU, settings=WhisperSettings())


class Room:
    """Where recordings lie and are heard; what the plugin tells of its progress is in `progress`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.progress: list[tuple[float, str]] = []

    def context(self) -> Context:
        def report(_: str, fraction: float, text: str) -> None:
            self.progress.append((fraction, text))

        return Context(device=CPU, scratch=self.folder / "scratch", report=report)

    def event(self, path: Path) -> Audio:
        return Audio(
            id=path.name, media_type="audio/x-wav", sha256=f"hash of {path.name}", size=path.stat().st_size, path=path,
            name=path.name, source="test", origin=path.name, created=datetime(2026, 11, 20, tzinfo=UTC),
        )  # fmt: skip

    def write(self, samples: np.ndarray, name: str = "take.wav") -> Path:
        return write_wav(self.folder / name, samples)

    def hear(self, model: Hearing, *paths: Path) -> list[Result | Failure]:
        return list(whisper.on_audio([self.event(path) for path in paths], model, self.context()))


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)
