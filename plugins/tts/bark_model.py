"""A Bark of transformers, from a local folder. Imports PyTorch: for workers only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import torch
from transformers import AutoTokenizer, BarkModel, logging

from hooks import Device, ModelUnavailable
from plugins.tts.parts import Style
from plugins.tts.speaking import About, known

if TYPE_CHECKING:
    from plugins.tts.bark import BarkSettings

TOKENS = 256  # of text, which is all that Bark reads at once
EMOTIONS = {"happy": "[laughs]", "sad": "[sighs]", "surprised": "[gasps]", "singing": "♪"}


class Bark:
    """A loaded model."""

    longest = 200

    def __init__(self, settings: BarkSettings, device: Device) -> None:
        torch.set_num_threads(settings.threads or device.threads)
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self._settings = settings
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(settings.model, local_files_only=True)
            model = BarkModel.from_pretrained(settings.model, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise ModelUnavailable(
                f"{settings.model} cannot be used: {str(error).splitlines()[0].rstrip('.')}.",
                "Take a Bark as transformers saves it, with its tokenizer and model.safetensors.",
            ) from error
        self._model = model.to(device.torch).eval()
        self.rate = int(self._model.generation_config.sample_rate)
        self.sentence_pause = settings.sentence_pause

    def chosen(self, style: Style) -> Style:
        """The style; who speaks follows from the seed."""
        if style.voice:
            raise known(style.voice, [], "voice of Bark")
        if style.emotion and style.emotion not in EMOTIONS:
            raise known(style.emotion, sorted(EMOTIONS), "emotion of Bark")
        return replace(style, language=style.language or "en")

    def say(self, text: str, style: Style) -> Iterator[np.ndarray]:
        """Samples of one utterance, float."""
        said = f"{EMOTIONS[style.emotion]} {text}" if style.emotion else text
        inputs = self._tokenizer(
            said, return_tensors="pt", padding="max_length", max_length=TOKENS, truncation=True,
            add_special_tokens=False, return_token_type_ids=False,
        )  # fmt: skip
        torch.manual_seed(self._settings.seed)
        with torch.inference_mode():
            yield self._model.generate(**inputs.to(self._model.device)).float().cpu().numpy().squeeze()

    def about(self, style: Style) -> About:
        """Who speaks."""
        left_out = [name for name, is_it in (("speed", style.speed != 1), ("pitch", style.pitch != 0)) if is_it]
        problems = tuple(f"Bark cannot change the {name}: that was left out." for name in left_out)
        return About(f"bark {self._settings.model.name}", problems=problems)
