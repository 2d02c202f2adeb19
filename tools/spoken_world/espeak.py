"""Speech from libespeak-ng, with the time at which each word begins.

The library is called directly, as its program tells no times. Debian: espeak-ng (1.51 made the bundled model).
"""

from __future__ import annotations

import ctypes
import re
from dataclasses import dataclass

import numpy as np

RATE = 16_000
LIBRARIES = ("libespeak-ng.so.1", "libespeak-ng.1.dylib", "libespeak-ng.dylib")
THEIR_RATE = 22_050
SYNCHRONOUS, UTF8, POSITION_OF_CHARACTER = 2, 1, 1
WORD_EVENT, END_OF_EVENTS = 1, 0
SPEED, PITCH, RANGE = 1, 3, 4  # espeak_PARAMETER
EDGE = RATE // 100  # samples that are kept before and after what is heard


class SpeechUnavailable(Exception):
    """espeak-ng is not installed, or does not know a voice."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice of espeak-ng as `en-us+m3`, its words a minute, its pitch and the range of that (0 to 100)."""

    name: str
    speed: int = 175
    pitch: int = 50
    range: int = 50


@dataclass(frozen=True, slots=True)
class Speech:
    """What was said: int16 samples at 16 kHz without silence around, and the second at which each word begins."""

    text: str
    samples: np.ndarray
    starts: tuple[float, ...]

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return len(self.samples) / RATE


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("uid", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Espeak:
    """The library in this process, which has one state: do not share it among threads."""

    def __init__(self) -> None:
        self._library = _library()
        rate = self._library.espeak_Initialize(SYNCHRONOUS, 0, None, 0)
        if rate != THEIR_RATE:
            raise SpeechUnavailable(f"espeak-ng cannot be used (it answered {rate}): install espeak-ng-data.")
        self._chunks: list[np.ndarray] = []
        self._words: list[tuple[int, float]] = []
        self._callback = _Callback(self._receive)  # kept, as the library keeps no reference
        self._library.espeak_SetSynthCallback(self._callback)

    def say(self, text: str, voice: Voice) -> Speech:
        """Speak a text of words and spaces."""
        self._chunks, self._words = [], []
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != 0:
            raise SpeechUnavailable(f"espeak-ng has no voice {voice.name!r}.")
        for parameter, value in ((SPEED, voice.speed), (PITCH, voice.pitch), (RANGE, voice.range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        raw = text.encode()
        self._library.espeak_Synth(raw, len(raw) + 1, 0, POSITION_OF_CHARACTER, 0, UTF8, None, None)
        self._library.espeak_Synchronize()
        said = np.concatenate(self._chunks).astype(np.float32) if self._chunks else np.zeros(1000, np.float32)
        return _trimmed(text, resampled(said, 441, 320), self._words)

    def _receive(self, samples, count, events) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != END_OF_EVENTS:
            if events[index].type == WORD_EVENT:
                self._words.append((events[index].text_position - 1, events[index].audio_position / 1000))
            index += 1
        return 0


def _library() -> ctypes.CDLL:
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise SpeechUnavailable("libespeak-ng was not found: install it (Debian: espeak-ng).")


def _trimmed(text: str, samples: np.ndarray, words: list[tuple[int, float]]) -> Speech:
    loud = np.nonzero(np.abs(samples) > max(np.abs(samples).max() * 0.01, 30))[0]
    first, last = (max(0, loud[0] - EDGE), min(len(samples), loud[-1] + 1 + EDGE)) if len(loud) else (0, len(samples))
    starts = _word_starts(text, words, first / RATE, last / RATE)
    kept = np.clip(samples[first:last], -32768, 32767).astype(np.int16)
    return Speech(text, kept, tuple(round(max(0.0, start - first / RATE), 3) for start in starts))


def _word_starts(text: str, words: list[tuple[int, float]], first: float, last: float) -> list[float]:
    """A start for each word; espeak-ng joins some pairs and tells of one, so that the other's is interpolated."""
    places = [match.start() for match in re.finditer(r"\S+", text)]
    known: dict[int, float] = {}
    for position, seconds in words:
        nearest = min(range(len(places)), key=lambda index: abs(places[index] - position))
        known.setdefault(nearest, seconds)
    known[0] = max(known.get(0, 0.0), first)
    return [float(start) for start in np.interp(range(len(places)), [*sorted(known), len(places)],
                                                 [*(known[index] for index in sorted(known)), last])]  # fmt: skip


def resampled(samples: np.ndarray, down: int, up: int) -> np.ndarray:
    """Samples at `up`/`down` of the rate, by their spectrum; `down` is the greater one."""
    padded = ((len(samples) + 1000) // down + 1) * down
    spectrum = np.fft.rfft(samples, padded)
    size = padded * up // down
    return (np.fft.irfft(spectrum[: size // 2 + 1], size) * (up / down))[: len(samples) * up // down]
