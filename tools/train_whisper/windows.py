"""Training windows: utterances laid into 30 seconds, with silences and other sounds; what is to be written of them.

A long silence is stored short, as its two ends; `gaps` says where how many frames of the encoder were left out.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from tools.spoken_world import LANGUAGES, RATE
from tools.train_whisper.corpus import Utterance, Words
from tools.train_whisper.sounds import Sounds
from tools.train_whisper.tokens import Targets, Tokens

STEP = RATE // 50  # samples of a frame of the encoder
WINDOW = 30 * RATE
KEPT = 34  # frames of a long silence that are stored
SHARES = {"en": 4, "de": 2, "fr": 3}
SENTENCES = (1, 2, 3, 4, 6, 12)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence in the window: seconds of the window, and its words in seconds of what is stored."""

    start: float
    end: float
    words: Words


@dataclass(slots=True)
class Window:
    """Stored samples, the gaps in them as (frame, frames left out), and what is to be written."""

    samples: np.ndarray
    gaps: list[tuple[int, int]]
    sentences: list[Sentence]
    targets: Targets


@dataclass(slots=True)
class _Strip:
    """What is laid into a window, one after the other; `true` counts what is meant, `stored` what is there."""

    parts: list[np.ndarray] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    sentences: list[Sentence] = field(default_factory=list)
    stored: int = 0
    true: int = 0

    @property
    def left(self) -> float:
        """Seconds of the window that are free."""
        return (WINDOW - self.true) / RATE

    def add(self, samples: np.ndarray) -> None:
        self.parts.append(samples)
        self.stored += len(samples)
        self.true += len(samples)

    def silence(self, seconds: float) -> None:
        count, left_out = int(max(0.0, seconds) * RATE), 0
        if count > (KEPT + 6) * STEP:
            left_out = (count - KEPT * STEP) // STEP
            self.gaps.append(((self.stored + (count - left_out * STEP) // 2) // STEP, left_out))
        self.add(np.zeros(count - left_out * STEP, np.float32))
        self.true += left_out * STEP

    def speech(self, samples: np.ndarray, words: Words) -> bool:
        """Add a sentence; False when the window's end cuts it, and then it is not among the sentences."""
        complete = self.true + len(samples) <= WINDOW
        if complete:
            at, stored = self.true / RATE, self.stored / RATE
            placed = [(word, stored + start, stored + end) for word, start, end in words]
            self.sentences.append(Sentence(at, at + len(samples) / RATE, placed))
        self.add(samples[: WINDOW - self.true])
        return complete


class Windows:
    """Draws windows from a corpus. With `short`, of one or two sentences with short silences, to begin with.

    What is drawn depends on `rng` alone, which may be seeded anew.
    """

    def __init__(self, corpus: Sequence[Utterance], tokens: Tokens, seed: int, *, short: bool) -> None:
        self.rng, self._tokens, self.short = random.Random(f"whisper windows {seed}"), tokens, short
        self._sounds = Sounds(self.rng, seed)
        self._of_language = {name: [u for u in corpus if u.language == name] for name in LANGUAGES}
        self._of_voice: dict[str, list[Utterance]] = {}
        for utterance in corpus:
            self._of_voice.setdefault(utterance.voice, []).append(utterance)

    def draw(self, *, prompts: bool) -> Window:
        """A window; with `prompts`, most have what was said before it as a prompt."""
        rng = self.rng
        language = rng.choices(LANGUAGES, [SHARES[name] for name in LANGUAGES])[0]
        timeless, speechless = rng.random() < 0.4, rng.random() < 0.13
        strip, cut = _Strip(), None
        if rng.random() < (0.5 if speechless else 0.08):  # the end of a word that belongs to the window before
            strip.add(self._utterance(language)[0][-int(rng.uniform(0.005, 0.08) * RATE) :])
        if speechless:
            strip.silence(self._pause_of_nothing())
        else:
            cut = self._talk(strip, language, timeless=timeless)
        samples = self._disturbed(strip, speechless=speechless)
        before = self._prompt(language, timeless=timeless) if prompts and rng.random() < 0.9 else []
        spoken = [(s.start, s.end, s.words) for s in strip.sentences]
        write = self._tokens.without_times if timeless else self._tokens.with_times
        targets = write(language, before, spoken, cut, rng)
        return Window(samples, strip.gaps, strip.sentences, targets)

    def _pause_of_nothing(self) -> float:
        rng = self.rng
        if rng.random() < 0.4:
            return rng.uniform(0.02, 0.6)
        return rng.uniform(0.5, 3) if rng.random() < 0.5 else rng.uniform(2, 29.8)

    def _talk(self, strip: _Strip, language: str, *, timeless: bool) -> float | None:
        """Lay sentences; where the one begins that the window's end cuts, if any."""
        rng = self.rng
        strip.silence(self._lead())
        weights = (64, 36, 0, 0, 0, 0) if self.short else (30, 22, 18, 12, 12, 6) if timeless else (46, 20, 12, 8, 9, 5)
        count = rng.choices(SENTENCES, weights)[0]
        fill = count >= 3 and rng.random() < 0.25  # go on to the window's end
        for number in range(99 if fill else count):
            if number:
                strip.silence(min(self._pause(fill=fill), strip.left - 0.1))
                if not fill and strip.left < 5:
                    break
            start = strip.true / RATE
            if not strip.speech(*self._utterance(language)):
                return start
        brief = self.short or rng.random() < 0.7
        strip.silence(min(strip.left, rng.uniform(0, 0.6) if brief else rng.uniform(0.6, 8)))
        return None

    def _lead(self) -> float:
        rng, kind = self.rng, self.rng.random() * (0.72 if self.short else 1)
        if kind < 0.4:
            return rng.uniform(0, 0.25)
        if kind < 0.72:
            return rng.uniform(0.1, 0.8)
        return rng.uniform(1, 6) if kind < 0.92 else rng.uniform(6, 20)

    def _pause(self, *, fill: bool) -> float:
        brief = self.short or self.rng.random() < 0.7
        return self.rng.uniform(0.2, 1.0) if brief else self.rng.uniform(1.2, 14 if fill else 9)

    def _utterance(self, language: str) -> tuple[np.ndarray, Words]:
        """Somebody says something, maybe in an order of words that nobody said, faster, or by telephone."""
        rng = self.rng
        utterance = rng.choice(self._of_language[language])
        samples, words = utterance.cut(0, len(utterance.words))
        if rng.random() < 0.12 and len(words) > 1:
            samples, words = self._spliced(utterance)
        if rng.random() < 0.45:
            factor = rng.uniform(0.87, 1.15)
            at = np.arange(0, len(samples) - 1, factor)
            samples = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
            words = [(word, start / factor, end / factor) for word, start, end in words]
        samples = samples / max(1.0, float(np.abs(samples).max()))
        if rng.random() < 0.08:
            samples = self._sounds.telephone(samples)
        return samples * rng.uniform(0.35, 1), words

    def _spliced(self, one: Utterance) -> tuple[np.ndarray, Words]:
        """The beginning of an utterance, and some words of another one of the same voice."""
        other, end = self.rng.choice(self._of_voice[one.voice]), self.rng.randint(1, len(one.words))
        first = self.rng.randrange(len(other.words))
        samples, words = one.cut(0, end)
        more, others = other.cut(first, min(len(other.words), first + self.rng.randint(1, 3)))
        at = len(samples) / RATE
        return np.concatenate([samples, more]), [*words, *((w, at + start, at + stop) for w, start, stop in others)]

    def _disturbed(self, strip: _Strip, *, speechless: bool) -> np.ndarray:
        rng = self.rng
        samples = np.concatenate(strip.parts)
        samples = np.pad(samples, (0, max(0, RATE // 10 - len(samples))))
        if strip.sentences and rng.random() < 0.22:
            samples = self._sounds.room(samples)
        power = math.sqrt(max(float((samples**2).mean()) if strip.sentences else 0.01, 1e-6))
        if rng.random() < (0.6 if speechless else 0.72):
            decibels = rng.uniform(5, 15) if rng.random() < 0.35 else rng.uniform(6, 45)
            samples = samples + self._sounds.noise(len(samples)) * power * 10 ** (-decibels / 20)
        if rng.random() < (0.65 if speechless else 0.1):
            decibels = rng.uniform(-12, 25) if speechless else rng.uniform(8, 30)
            samples = samples + self._sounds.music(len(samples)) * power * 10 ** (-decibels / 20)
        return (samples * rng.uniform(0.03, 0.9)).astype(np.float32)

    def _prompt(self, language: str, *, timeless: bool) -> list[int]:
        """What was said before, cut to what faster-whisper gives as a prompt: 223 tokens at most."""
        rng, text, at = self.rng, [], 0.0
        room = rng.choice([20, 60, 120, 223, 223])
        longest = rng.choice([0, 0, 10, 30])  # seconds of the windows in which it was heard; 0: a sentence each
        timeless = timeless or rng.random() < 0.1
        while len(text) < room:
            utterance = rng.choice(self._of_language[language])
            at = rng.uniform(0, 0.8) if at + utterance.seconds > longest else at + rng.uniform(0, 1.5)
            text += self._tokens.said(utterance.words, None if timeless else (at, at + utterance.seconds))
            at += utterance.seconds
        return text[-room:]
