"""A model of Coqui, from a local folder. Imports PyTorch: for workers only."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from TTS.utils.synthesizer import Synthesizer

from hooks import BadInput, Device, ModelUnavailable
from plugins.tts.parts import Style
from plugins.tts.speaking import About, known

if TYPE_CHECKING:
    from plugins.tts.coqui import CoquiSettings

LOADED_FROM_FOLDERS = ("xtts", "tortoise", "bark")


class Coqui:
    """A loaded model."""

    longest = 240

    def __init__(self, settings: CoquiSettings, device: Device) -> None:
        torch.set_num_threads(settings.threads or device.threads)
        self._settings = settings
        self._model = _loaded(settings, device)
        self.rate = int(self._model.output_sample_rate)
        self.sentence_pause = settings.sentence_pause
        tts = self._model.tts_model
        self._speakers = _names(getattr(tts, "speaker_manager", None), "speaker_names")
        self._languages = _names(getattr(tts, "language_manager", None), "language_names")
        if settings.sample is not None and not settings.sample.is_file():
            raise ModelUnavailable(f"There is no sample at {settings.sample}.", "Name another: [plugins.coqui] sample.")

    def chosen(self, style: Style) -> Style:
        """The style with its speaker and language."""
        voice, language = style.voice, style.language
        if voice and voice not in self._speakers:
            raise known(voice, self._speakers, "speaker in this model of Coqui")
        if self._speakers and not voice and self._settings.sample is None:
            voice = self._speakers[0]
        if len(self._languages) > 1:
            among = [one for one in (language, language.split("-")[0]) if one in self._languages]
            if language and not among:
                raise known(language, self._languages, "language of this model of Coqui")
            language = among[0] if among else self._languages[0]
        return replace(style, voice=voice, language=language or (self._languages or ["en"])[0])

    def say(self, text: str, style: Style) -> Iterator[np.ndarray]:
        """Samples of one utterance, float."""
        wishes: dict[str, Any] = {"split_sentences": False, "speaker_name": style.voice or None}
        if len(self._languages) > 1:
            wishes["language_name"] = style.language
        if self._settings.sample is not None:
            wishes["speaker_wav"] = str(self._settings.sample)
        if self._can_hurry:
            wishes["speed"] = style.speed
        try:
            with contextlib.redirect_stdout(sys.stderr), torch.inference_mode():
                samples = np.asarray(self._model.tts(text, **wishes), np.float32)
        except (ValueError, IndexError, AssertionError) as error:
            raise BadInput(f"The model cannot say {text[:60]!r}: {error}.", "Write it in another way.") from error
        peak = float(np.abs(samples).max(initial=0))
        yield samples / peak if peak > 1 else samples

    def about(self, style: Style) -> About:
        """Who speaks."""
        wished = {"pitch": style.pitch != 0, "emotion": bool(style.emotion)}
        wished["speed"] = style.speed != 1 and not self._can_hurry
        left_out = [name for name, is_it in wished.items() if is_it]
        problems = tuple(f"This model cannot change the {name}: that was left out." for name in left_out)
        name = f"coqui {self._settings.model.name} {style.voice}".rstrip()
        return About(name, cloned=self._settings.sample is not None, problems=problems)

    @property
    def _can_hurry(self) -> bool:
        return self._model.tts_config.model == "xtts"


def _names(manager: Any, attribute: str) -> list[str]:
    return [str(name) for name in getattr(manager, attribute, None) or ()]


def _loaded(settings: CoquiSettings, device: Device) -> Synthesizer:
    """The model, with its vocoder; ModelUnavailable says what is unfit."""
    folder = settings.model
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return Synthesizer(
                tts_checkpoint=folder if _kind(folder) in LOADED_FROM_FOLDERS else _weights(folder),
                tts_config_path=folder / "config.json",
                vocoder_checkpoint=None if settings.vocoder is None else _weights(settings.vocoder),
                vocoder_config=None if settings.vocoder is None else settings.vocoder / "config.json",
                use_cuda=device.kind == "gpu",
            )
    except (ValueError, KeyError, TypeError, RuntimeError, OSError, AttributeError, EOFError) as error:
        said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        if "out of memory" in said.lower():
            raise
        raise ModelUnavailable(
            f"{folder} cannot be used: {said}.", "Fetch the whole folder anew, as coqui-tts 0.28 keeps it."
        ) from error


def _kind(folder: Path) -> str:
    found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return str(found.get("model", "")) if isinstance(found, dict) else ""


def _weights(folder: Path) -> Path:
    """The file of weights: the one that is called so, or the only one."""
    usual = ("model", "best_model")
    found = sorted(folder.glob("*.pth"), key=lambda path: (not path.name.startswith(usual), path.name))
    if not found:
        raise ModelUnavailable(f"There are no weights (.pth) in {folder}.", "Fetch the whole folder anew.")
    return found[0]
