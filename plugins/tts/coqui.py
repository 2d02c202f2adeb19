"""Coqui: VITS, Tacotron 2, YourTTS, XTTS, Tortoise and Bark by coqui-tts. Off unless `[plugins.coqui]` names a model.

A model is a folder as coqui-tts keeps it: config.json with the weights beside it. XTTS and YourTTS speak with the voice
of a sample: whoever has it spoken says in the configuration that the speaker has agreed, and the recording says that it
is synthetic and cloned. Weights are read as tensors alone (`weights_only`), so that they run no code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, Field, model_validator

from hooks import Context, Device, Failure, ModelSpec, ModelUnavailable, Result, Text, hookimpl
from plugins.tts import neural
from plugins.tts.settings import NeuralSettings

if TYPE_CHECKING:
    from plugins.tts.speaking import Speaker

optional = True
by_route = True
api = ">=1,<2"


class CoquiSettings(NeuralSettings):
    """Which model, and how it speaks."""

    vocoder: Path | None = Field(
        None, description="The folder of a vocoder for a model that makes spectrograms; without it, Griffin-Lim."
    )
    sample: Path | None = Field(
        None, description="A recording of 5 to 10 seconds whose voice is spoken with, where the model can."
    )
    i_have_the_speakers_consent: bool = Field(
        False, description="Must be true for `sample`: the person in it has agreed to be spoken for."
    )

    @model_validator(mode="after")
    def _is_allowed(self) -> Self:
        if self.sample is not None and not self.i_have_the_speakers_consent:
            raise ValueError(
                "`sample` takes a person's voice: ask that person, and then set i_have_the_speakers_consent = true"
            )
        return self


@hookimpl
def settings_class() -> type[BaseModel]:
    return CoquiSettings


@hookimpl
def model_spec(settings: CoquiSettings) -> ModelSpec:
    return neural.spec_of("coqui", settings, "plugins.tts.coqui_model")


@hookimpl
def voices(settings: CoquiSettings) -> list[str]:
    return [settings.voice or settings.model.name]


@hookimpl
def load(settings: CoquiSettings, device: Device) -> Speaker:
    weights = [path for path in neural.files_of(settings.model) if path.suffix == ".pth"]
    if not (settings.model / "config.json").is_file() or not weights:
        raise ModelUnavailable(
            f"There is no model of Coqui in {settings.model}: it needs config.json and its weights (.pth).",
            "Fetch one with a network, as `tts --model_name tts_models/en/ljspeech/vits --text x` does into "
            "~/.local/share/tts, or `hf download coqui/XTTS-v2 --local-dir FOLDER`, and name that folder.",
        )
    try:
        from plugins.tts import coqui_model, speaking
    except ImportError as error:
        raise neural.missing(str(error.name), "coqui") from error
    return speaking.Speaker(coqui_model.Coqui(settings, device), settings, "Sensorium, Coqui")


@hookimpl
def on_text(events: list[Text], model: Speaker, context: Context) -> Iterator[Result | Failure]:
    return model.speak(events, context)
