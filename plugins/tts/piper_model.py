"""A voice of Piper. Imports ONNX Runtime and, under the GPL, piper: for workers only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state
from piper import PiperVoice, SynthesisConfig
from piper.config import PiperConfig

from hooks import Device, ModelUnavailable
from plugins.tts.parts import Style
from plugins.tts.speaking import About, known

if TYPE_CHECKING:
    from plugins.tts.piper import PiperSettings


UNFIT = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile)


class Piper:
    """A loaded voice."""

    longest = 500

    def __init__(self, settings: PiperSettings, device: Device) -> None:
        self._settings = settings
        self._voice = _loaded(settings, device)
        self.rate = int(self._voice.config.sample_rate)
        self.sentence_pause = settings.sentence_pause
        self._language = str(self._voice.config.espeak_voice)

    def chosen(self, style: Style) -> Style:
        """The style with its speaker; a voice has one language."""
        speakers = self._voice.config.speaker_id_map
        if style.voice and style.voice not in speakers:
            raise known(style.voice, sorted(speakers), "speaker in this voice of Piper")
        if style.language and style.language.split("-")[0] != self._language.split("-")[0] and self._settings.language:
            raise known(style.language, [self._language], "language of this voice of Piper")
        return replace(style, language=self._language)

    def say(self, text: str, style: Style) -> Iterator[np.ndarray]:
        """Samples of one utterance, float."""
        wishes = SynthesisConfig(
            speaker_id=self._voice.config.speaker_id_map.get(style.voice),
            length_scale=self._voice.config.length_scale / style.speed,
            normalize_audio=False,
        )
        for chunk in self._voice.synthesize(text, wishes):
            yield chunk.audio_float_array

    def about(self, style: Style) -> About:
        """Who speaks."""
        left_out = [name for name, value in (("pitch", style.pitch), ("emotion", style.emotion)) if value]
        problems = tuple(f"Piper cannot change the {name}: that was left out." for name in left_out)
        return About(f"piper {self._settings.model.stem} {style.voice}".rstrip(), problems=problems)


def _loaded(settings: PiperSettings, device: Device) -> PiperVoice:
    """The voice, with as many threads as the host gives; ModelUnavailable says what is unfit."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads or device.threads
    providers = ["CUDAExecutionProvider"] if device.kind == "gpu" else []
    try:
        config = json.loads(settings.model.with_name(f"{settings.model.name}.json").read_text(encoding="utf-8"))
        session = onnxruntime.InferenceSession(
            str(settings.model), sess_options=options, providers=[*providers, "CPUExecutionProvider"]
        )
        return PiperVoice(session=session, config=PiperConfig.from_dict(config))
    except (ValueError, KeyError, TypeError, RuntimeError, OSError, *UNFIT) as error:
        said = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise ModelUnavailable(
            f"{settings.model} is no voice of Piper: {said}.", "Fetch the voice and its JSON anew, from one place."
        ) from error
