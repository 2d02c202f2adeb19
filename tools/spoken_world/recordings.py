"""Recordings made of speech, silence and noise, of which it is known what is said when; and their files."""

from __future__ import annotations

import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from tools.spoken_world.espeak import RATE, Speech

CODECS = {
    ".mp3": ("libmp3lame", 44_100),
    ".ogg": ("libopus", 48_000),
    ".m4a": ("aac", 44_100),
    ".flac": ("flac", 16_000),
}


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence and the seconds at which it begins and ends."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Take:
    """A recording: float32 samples at 16 kHz, and what is said in it."""

    samples: np.ndarray
    said: tuple[Said, ...]

    @classmethod
    def of(cls, parts: Sequence[Speech | float]) -> Take:
        """Speech and seconds of silence one after the other."""
        pieces: list[np.ndarray] = []
        said: list[Said] = []
        at = 0
        for part in parts:
            if isinstance(part, Speech):
                pieces.append(part.samples.astype(np.float32) / 32768)
                said.append(Said(part.text, at / RATE, (at + len(part.samples)) / RATE))
            else:
                pieces.append(silence(part))
            at += len(pieces[-1])
        return cls(np.concatenate(pieces) if pieces else silence(0), tuple(said))

    @property
    def text(self) -> str:
        """All that is said."""
        return " ".join(sentence.text for sentence in self.said)

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / RATE

    def with_noise(self, decibels: float, rng: np.random.Generator) -> Take:
        """White noise all over, by so much weaker than the speech is on average."""
        spoken = np.concatenate([self.samples[int(s.start * RATE) : int(s.end * RATE)] for s in self.said])
        level = float(np.sqrt((spoken**2).mean())) * 10 ** (-decibels / 20)
        return Take(self.samples + level * noise(self.seconds, rng)[: len(self.samples)], self.said)


def silence(seconds: float) -> np.ndarray:
    """Nothing at all."""
    return np.zeros(round(seconds * RATE), np.float32)


def noise(seconds: float, rng: np.random.Generator) -> np.ndarray:
    """White noise with a standard deviation of 1."""
    return rng.standard_normal(round(seconds * RATE)).astype(np.float32)


def write_wav(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """Write float samples from -1 to 1, one row a channel or one channel, as 16 bits."""
    rows = np.atleast_2d(samples)
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(rows))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(_sixteen_bits(rows.T).tobytes())
    return path


def write_recording(path: Path, samples: np.ndarray) -> Path:
    """Write 16 kHz mono in the format that the suffix names: .wav, .mp3, .ogg (Opus), .m4a or .flac."""
    if path.suffix == ".wav":
        return write_wav(path, samples)
    codec, rate = CODECS[path.suffix]
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(_sixteen_bits(np.atleast_2d(samples)), format="s16", layout="mono")
        frame.sample_rate = RATE
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate, stream.codec_context.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def _sixteen_bits(samples: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((np.clip(samples, -1, 1) * 32767).astype("<i2"))
