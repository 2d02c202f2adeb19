"""An audio classifier of transformers, from a local folder. Imports PyTorch: for workers only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, logging

from hooks import Audio, Context, Device, Emotion, Label, ModelUnavailable, Mood
from plugins.audio.recording import RATE, opened

if TYPE_CHECKING:
    from plugins.audio.emotion import EmotionSettings

SHORTEST = 0.5  # seconds in which something can be heard
SILENT = 0.003  # root mean square: some 50 dB below the loudest


class Emotions:
    """A loaded classifier."""

    def __init__(self, extractor: AutoFeatureExtractor, model: torch.nn.Module, settings: EmotionSettings) -> None:
        self._extractor, self._model, self._settings = extractor, model, settings
        self._names = [model.config.id2label[number] for number in range(model.config.num_labels)]

    def emotion(self, event: Audio, context: Context) -> Emotion:
        """How a recording sounds, window by window and in all. BadInput says why it cannot be listened to."""
        moods: list[Mood] = []
        total = np.zeros(len(self._names))
        with opened(event) as recording:
            windows = _loud(_windows(recording.blocks(), round(RATE * self._settings.window)))
            for some in _groups(windows, self._settings.batch):
                for (start, sound), shares in zip(some, self._shares([sound for _, sound in some]), strict=True):
                    total += shares * len(sound)
                    end = start + len(sound)
                    moods.append(Mood(start=start / RATE, end=round(end / RATE, 3), labels=self._best(shares)))
                context.progress(event, min(1.0, end / RATE / max(recording.seconds, end / RATE)))
        return Emotion(labels=self._best(total / total.sum()) if moods else (), moods=tuple(moods))

    def _shares(self, sounds: list[np.ndarray]) -> np.ndarray:
        with torch.inference_mode():
            inputs = self._extractor(sounds, sampling_rate=RATE, padding=True, return_tensors="pt")
            logits = self._model(**inputs.to(self._model.device)).logits
        return logits.float().softmax(-1).cpu().numpy()

    def _best(self, shares: np.ndarray) -> tuple[Label, ...]:
        best = np.argsort(-shares, kind="stable")[: self._settings.top]
        return tuple(Label(name=self._names[place], score=round(float(shares[place]), 4)) for place in best)


def _windows(blocks: Iterable[np.ndarray], size: int) -> Iterator[tuple[int, np.ndarray]]:
    """Stretches of so many samples, and where each begins; the last one is shorter."""
    start, rest = 0, np.zeros(0, np.float32)
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) >= size:
            yield start, rest[:size]
            start, rest = start + size, rest[size:]
    if len(rest):
        yield start, rest


def _groups(windows: Iterator[tuple[int, np.ndarray]], size: int) -> Iterator[list[tuple[int, np.ndarray]]]:
    while some := list(islice(windows, size)):
        yield some


def _loud(windows: Iterable[tuple[int, np.ndarray]]) -> Iterator[tuple[int, np.ndarray]]:
    for start, sound in windows:
        if len(sound) >= SHORTEST * RATE and np.sqrt(np.mean(np.square(sound))) > SILENT:
            yield start, sound


def load(settings: EmotionSettings, device: Device) -> Emotions:
    """The classifier in a folder, on a device; ModelUnavailable says what is unfit."""
    torch.set_num_threads(settings.threads or device.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        extractor = AutoFeatureExtractor.from_pretrained(settings.model, local_files_only=True)
        model = AutoModelForAudioClassification.from_pretrained(
            settings.model, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise _unfit(settings.model, str(error).splitlines()[0].rstrip(".")) from error
    kind, rate = model.config.problem_type, extractor.sampling_rate
    if kind not in (None, "single_label_classification"):
        raise _unfit(settings.model, f"it does {kind}, and not the choice of one name")
    if rate != RATE:
        raise _unfit(settings.model, f"it listens at {rate} Hz, and not at {RATE}")
    return Emotions(extractor, model.to(device.torch).eval(), settings)


def _unfit(folder: Path, why: str) -> ModelUnavailable:
    return ModelUnavailable(
        f"{folder} cannot be used: {why}.",
        "Take an audio classifier as transformers saves them, with model.safetensors.",
    )
