"""Speech into a WAV file as it comes, with a note that it is synthetic, and at one loudness in the end.

RIFF … WAVE | fmt | LIST INFO (who spoke, that it is synthetic) | data: 16 bit, one channel
                                                                   └ amplified in place by `finish`
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from hooks import BadInput

LARGEST = 2**32 - 2**20  # bytes that the sizes in a WAV file can tell of
STEP = 1024 * 1024  # samples that are amplified at a time
PEAK = 10 ** (-1 / 20)  # of full scale: what no sample shall pass
NOTE = "Synthetic speech, spoken by a machine"
CLONED = f"{NOTE} with a voice made after a person's, who agreed"


class Wav:
    """A WAV file that is being written; `about` goes into its INFO chunk, beside that it is synthetic."""

    def __init__(self, path: Path, rate: int, about: dict[str, str]) -> None:
        self.path = path
        self.rate = rate
        self.samples = 0
        self._about = {"ICMT": NOTE, "IKEY": "synthetic", **about}
        self._loudness = Loudness(rate)
        self._file = path.open("w+b")
        self._start = self._file.write(self._head())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        if error is not None:
            self.path.unlink(missing_ok=True)

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return self.samples / self.rate

    def write(self, samples: np.ndarray) -> None:
        """Append samples: int16, or float from -1 to 1."""
        if samples.dtype != np.int16:
            samples = (np.clip(np.nan_to_num(samples), -1, 1) * 32767).astype(np.int16)
        if self._start + 2 * (self.samples + len(samples)) > LARGEST:
            raise BadInput("It is too long for one WAV file.", "Cut the text into several.")
        self._loudness.add(samples)
        self._file.write(samples.astype("<i2", copy=False).tobytes())
        self.samples += len(samples)

    def silence(self, seconds: float) -> None:
        """Append silence."""
        self.write(np.zeros(round(seconds * self.rate), np.int16))

    def flush(self) -> None:
        """Let a reader have what was written so far."""
        self._file.flush()

    def finish(self, target: float) -> float | None:
        """Bring it to this loudness, in LUFS, as far as its peaks let; what it has then, None of silence."""
        found = self._loudness.integrated
        if found is not None:
            gain = min(10 ** ((target - found) / 20), PEAK / self._loudness.peak)
            self._amplify(gain)
            found = round(found + 20 * math.log10(gain), 1)
        self._file.seek(0)
        self._file.write(self._head())
        self._file.flush()
        return found

    def _amplify(self, gain: float) -> None:
        for start in range(0, self.samples, STEP):
            place = self._start + 2 * start
            self._file.seek(place)
            samples = np.frombuffer(self._file.read(2 * min(STEP, self.samples - start)), "<i2")
            louder = np.clip(np.rint(samples * np.float32(gain)), -32768, 32767).astype("<i2")
            self._file.seek(place)
            self._file.write(louder.tobytes())

    def _head(self) -> bytes:
        info = b"INFO" + b"".join(_chunk(name.encode(), text.encode() + b"\0") for name, text in self._about.items())
        form = struct.pack("<HHIIHH", 1, 1, self.rate, 2 * self.rate, 2, 16)
        body = b"WAVE" + _chunk(b"fmt ", form) + _chunk(b"LIST", info) + b"data" + struct.pack("<I", 2 * self.samples)
        return b"RIFF" + struct.pack("<I", len(body) + 2 * self.samples) + body


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


class Loudness:
    """Integrated loudness by ITU-R BS.1770-5, one channel, as samples come; memory grows by 80 bytes a second.

    The weighting is laid over the spectrum of each tenth of a second, which is as good as the recommended filters
    where nothing lies below 40 Hz.
    """

    def __init__(self, rate: int) -> None:
        self.peak = 1e-9
        self._size = rate // 10
        self._weights = _weights(rate, self._size)
        self._rest = np.zeros(0, np.int16)
        self._powers: list[float] = []

    def add(self, samples: np.ndarray) -> None:
        """Take in int16 samples."""
        if not len(samples):
            return
        self.peak = max(self.peak, float(np.abs(samples.astype(np.int32)).max()) / 32768)
        rest = np.concatenate([self._rest, samples])
        blocks = len(rest) // self._size
        for some in _groups(rest[: blocks * self._size].reshape(blocks, self._size)):
            spectrum = np.fft.rfft(some.astype(np.float32) / np.float32(32768), axis=1)
            self._powers.extend((np.abs(spectrum) ** 2 @ self._weights).tolist())
        self._rest = rest[blocks * self._size :]

    @property
    def integrated(self) -> float | None:
        """In LUFS, over what is loud enough to count; None of silence."""
        powers = np.array(self._powers or [0.0])
        windows = np.convolve(powers, np.full(4, 0.25), "valid") if len(powers) >= 4 else powers.mean(keepdims=True)
        heard = windows[windows > _power(-70)]
        if not len(heard):
            return None
        counted = heard[heard > heard.mean() * 0.1]
        return float(-0.691 + 10 * np.log10(counted.mean()))


def _groups(blocks: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(blocks), 256):
        yield blocks[start : start + 256]


def _power(loudness: float) -> float:
    return 10 ** ((loudness + 0.691) / 10)


@dataclass(frozen=True, slots=True)
class _Filter:
    """A biquad of BS.1770, for 48 kHz."""

    b: tuple[float, float, float]
    a: tuple[float, float, float]

    def gain(self, frequencies: np.ndarray) -> np.ndarray:
        z = np.exp(-2j * np.pi * np.minimum(frequencies, 23_999) / 48_000)
        return np.abs(np.polyval(self.b[::-1], z) / np.polyval(self.a[::-1], z)) ** 2


SHELF = _Filter((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585))
HIGH_PASS = _Filter((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621))


def _weights(rate: int, size: int) -> np.ndarray:
    """What makes the mean power of a block, weighted, of the squares of its spectrum."""
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    weights = SHELF.gain(frequencies) * HIGH_PASS.gain(frequencies) * 2 / size**2
    weights[0] /= 2
    if size % 2 == 0:
        weights[-1] /= 2
    return weights.astype(np.float32)
