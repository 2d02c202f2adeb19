"""What happens to speech on its way to a microphone: noise, music, rooms, telephones. Float samples at 16 kHz."""

from __future__ import annotations

import math
import random

import numpy as np

from tools.spoken_world import RATE

STRETCH = 1 << 20  # samples of each kind of noise, from which pieces are taken
WHITE, COLOURED = 6, 6


class Sounds:
    """Draws sounds with `rng`; the noise that they are made of is the same for a seed."""

    def __init__(self, rng: random.Random, seed: int) -> None:
        self._rng, self._generator = rng, np.random.default_rng(seed)
        self._noises = [self._white() for _ in range(WHITE)] + [self._coloured(k / COLOURED) for k in range(COLOURED)]

    def noise(self, count: int) -> np.ndarray:
        """A piece of white or coloured noise, of standard deviation 1."""
        start = self._rng.randrange(STRETCH - count)
        return self._rng.choice(self._noises)[start : start + count]

    def music(self, count: int) -> np.ndarray:
        """A pure tone, mains hum, or chords one after the other, of standard deviation 1."""
        kind = self._rng.random()
        sound = self._tone(count) if kind < 0.3 else self._hum(count) if kind < 0.5 else self._melody(count)
        return (sound / (sound.std() + 1e-6)).astype(np.float32)

    def room(self, samples: np.ndarray) -> np.ndarray:
        """The samples with an echo that dies away."""
        size = int(self._rng.uniform(0.05, 0.35) * RATE)
        start = self._rng.randrange(STRETCH - size)
        echo = self._noises[0][start : start + size] * np.exp(-np.arange(size) * (6.9 / size))
        echo *= self._rng.uniform(0.1, 0.7) / np.sqrt((echo**2).sum())
        echo[0] += 1
        total = 1 << (len(samples) + size - 1).bit_length()
        spectrum = np.fft.rfft(samples, total) * np.fft.rfft(echo, total)
        return np.fft.irfft(spectrum, total)[: len(samples)].astype(np.float32)

    def telephone(self, samples: np.ndarray) -> np.ndarray:
        """The samples through a narrow band and eight bits (mu-law)."""
        spectrum, frequencies = np.fft.rfft(samples), np.fft.rfftfreq(len(samples), 1 / RATE)
        spectrum[(frequencies < 250) | (frequencies > 3600)] *= 0.02
        narrow = np.fft.irfft(spectrum, len(samples))
        narrow /= max(1e-3, np.abs(narrow).max())
        levels = np.round(np.log1p(255 * np.abs(narrow)) / math.log(256) * 128) / 128
        return (np.sign(narrow) * np.expm1(levels * math.log(256)) / 255).astype(np.float32)

    def _white(self) -> np.ndarray:
        return self._generator.standard_normal(STRETCH).astype(np.float32)

    def _coloured(self, share: float) -> np.ndarray:
        spectrum = np.fft.rfft(self._white())
        colour = (np.arange(len(spectrum)) + 500.0) ** (0.3 + 0.7 * share)
        sound = np.fft.irfft(spectrum / colour).astype(np.float32)
        return sound / sound.std()

    def _tone(self, count: int) -> np.ndarray:
        t = np.arange(count) / RATE
        tone = np.sin(2 * np.pi * math.exp(self._rng.uniform(math.log(60), math.log(6000))) * t)
        trembling = self._rng.random() < 0.3
        return tone * (1 + 0.8 * np.sin(2 * np.pi * self._rng.uniform(0.5, 8) * t)) if trembling else tone

    def _hum(self, count: int) -> np.ndarray:
        rng, t = self._rng, np.arange(count) / RATE
        base = rng.choice([50, 60, 100, 120]) * rng.uniform(0.98, 1.02)
        partials = (
            np.sin(2 * np.pi * base * k * t + rng.uniform(0, 6)) * rng.uniform(0, 1) / k
            for k in range(1, rng.randint(2, 12))
        )
        return sum(partials, np.zeros(count))

    def _melody(self, count: int) -> np.ndarray:
        rng, sound, start = self._rng, np.zeros(count), 0
        length = rng.uniform(0.12, 0.8)
        while start < count:
            size = min(count - start, int(length * rng.choice([1, 1, 2, 0.5]) * RATE) + 1)
            sound[start : start + size] = self._chord(size)
            start += size
        return sound

    def _chord(self, size: int) -> np.ndarray:
        rng, t = self._rng, np.arange(size) / RATE
        decay, partials, sound = rng.uniform(0.5, 8), rng.randint(1, 6), np.zeros(size)
        for _ in range(rng.choice([1, 1, 2, 3])):
            base = 110 * 2 ** (rng.randint(0, 40) / 12)
            for k in (k for k in range(1, partials + 1) if base * k < 7500):
                sound += np.sin(2 * np.pi * base * k * t) * np.exp(-decay * t) / k
        return sound
