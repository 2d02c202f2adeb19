"""Batches of windows as the model takes them: mel spectra, disturbed, and the layout of their frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from faster_whisper.feature_extractor import FeatureExtractor
from torch import Tensor
from torch.nn.functional import interpolate, pad
from torch.utils.data import Dataset

from tools.train_whisper.model import FRAMES, MELS, NEVER, Layout
from tools.train_whisper.windows import Window, Windows

HOP, FFT = 160, 400
STRIDE = 64  # frames that one stand-in stands for
AHEAD = 6  # batches that are drawn together and sorted by length
DEEPEST = 8.0  # powers of ten below the loudest at which Whisper's spectra are cut off


@dataclass(frozen=True, slots=True)
class Batch:
    """Windows, their spectra (B, 80, 2T) and layout."""

    windows: Sequence[Window]
    mel: Tensor
    layout: Layout


class Batches(Dataset[list[Batch]]):
    """Groups of `AHEAD` batches; each depends on the seed and its number alone, so any process may draw any of them.

    The first `short` groups have short windows, and about half of those that follow.
    """

    def __init__(self, windows: Windows, size: int, seed: int, short: int = 0) -> None:
        self._windows, self._size, self._seed, self._short = windows, size, seed, short
        self._rng, self._generator = windows.rng, torch.Generator()
        self._filters = torch.tensor(FeatureExtractor().mel_filters)
        self._hann = torch.hann_window(FFT)

    def __getitem__(self, number: int) -> list[Batch]:
        self._rng.seed(f"whisper batches {self._seed} {number}")
        self._generator.manual_seed(self._rng.getrandbits(60))
        self._windows.short = number < self._short or self._rng.random() < 0.5
        prompts = self._rng.random() < (0.2 if self._windows.short else 0.35)
        drawn = [self._windows.draw(prompts=prompts) for _ in range(AHEAD * self._size)]
        drawn.sort(key=lambda window: len(window.samples))
        groups = [drawn[start : start + self._size] for start in range(0, len(drawn), self._size)]
        self._rng.shuffle(groups)
        return [self._batch(group) for group in groups]

    def _batch(self, windows: Sequence[Window]) -> Batch:
        mel = self._spectra(windows)
        return Batch(windows, mel, self._layout(windows, mel.shape[-1] // 2))

    def _spectra(self, windows: Sequence[Window]) -> Tensor:
        samples = torch.zeros(len(windows), max(len(w.samples) for w in windows) + 10 * HOP)
        for row, window in zip(samples, windows, strict=True):
            row[: len(window.samples)] = torch.from_numpy(window.samples)
        power = torch.stft(samples, FFT, HOP, window=self._hann, return_complex=True)[..., :-1].abs() ** 2
        mel = torch.log10((self._filters @ power).clamp(min=1e-10))
        counts = [(len(window.samples) + HOP) // HOP for window in windows]
        real = torch.arange(mel.shape[-1])[None, None] < torch.tensor(counts)[:, None, None]
        loudest = mel.masked_fill(~real, -20).amax((1, 2), keepdim=True)
        shallower = (self._random(len(windows)) < 0.3) * self._random(len(windows)) * 1.5
        for row in mel:
            self._compress(row)
        mel = (torch.maximum(mel, loudest - DEEPEST + shallower) + 4) / 4
        mel = self._coloured(mel)
        for row, count in zip(mel, counts, strict=True):
            self._hide(row, count)
        return pad(mel * real, (0, 16 + mel.shape[-1] % 2))

    def _random(self, count: int) -> Tensor:
        return torch.rand(count, 1, 1, generator=self._generator)

    def _coloured(self, mel: Tensor) -> Tensor:
        """Another microphone: some bands louder, some weaker."""
        bends = torch.randn(len(mel), 1, 7, generator=self._generator) * 0.18 * self._random(len(mel))
        return mel + interpolate(bends, MELS, mode="linear", align_corners=True)[:, 0, :, None]

    def _compress(self, mel: Tensor) -> None:
        """A lossy codec now and then: no treble, and nothing where something else is much louder."""
        rng = self._rng
        if rng.random() < 0.12:
            mel[rng.randint(50, 76) :] = -10
            if rng.random() < 0.5:
                mel[mel < mel.amax(0, keepdim=True) - rng.uniform(2.5, 5)] = -10

    def _hide(self, mel: Tensor, count: int) -> None:
        """SpecAugment (D. Park et al., arXiv 1904.08779): a band or a moment is missing."""
        rng = self._rng
        if rng.random() < 0.5:
            band = rng.randrange(70)
            mel[band : band + rng.randint(2, 9)] = float(mel.mean())
        if rng.random() < 0.4:
            moment = rng.randrange(max(1, count - 10))
            mel[:, moment : moment + rng.randint(2, 9)] = float(mel.mean())

    def _layout(self, windows: Sequence[Window], frames: int) -> Layout:
        position = torch.arange(frames).repeat(len(windows), 1)
        rows: list[list[tuple[int, int, float]]] = []
        for number, window in enumerate(windows):
            row, shift = [], 0
            for middle, left_out in window.gaps:
                row += self._stand_ins(middle + shift, left_out, middle, 6)
                shift += left_out
                position[number, middle:] += left_out
            last = int(position[number, frames - 4]) + 1  # what follows is padding, which never changes
            position[number, frames - 3 :] = -1
            if last < FRAMES:
                row += self._stand_ins(last, FRAMES - last, frames - 4, 0)
            rows.append(row)
        position[position >= FRAMES] = -1
        longest = max(1, *(len(row) for row in rows))
        filled = [row + [(0, 0, NEVER)] * (longest - len(row)) for row in rows]
        columns = [torch.tensor([[entry[k] for entry in row] for row in filled]) for k in range(3)]
        return Layout(position, columns[0], columns[1].clamp(max=FRAMES - 1), columns[2].float())

    def _stand_ins(self, start: int, count: int, source: int, spread: int) -> list[tuple[int, int, float]]:
        """Every 64th of the frames from `start` on, as copies of stored frames near `source`."""
        places = list(range(start + self._rng.randrange(min(STRIDE, count)), start + count, STRIDE))
        weight = math.log(count / len(places))
        return [(source + self._rng.randint(-spread, spread), place, weight) for place in places]
