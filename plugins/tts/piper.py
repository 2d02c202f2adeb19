"""Piper: quick neural voices in some thirty languages. Off unless `[plugins.piper]` names a voice.

piper-tts is under the GPL, version 3: an optional extra, in the worker process alone, by option in an environment of
its own (`python`). A voice is an ONNX file with its JSON beside it, as `hf download rhasspy/piper-voices` brings them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel

from hooks import Context, Device, Failure, ModelSpec, ModelUnavailable, Result, Text, hookimpl
from plugins.tts import neural
from plugins.tts.settings import NeuralSettings

if TYPE_CHECKING:
    from plugins.tts.speaking import Speaker

optional = True
by_route = True
api = ">=1,<2"


class PiperSettings(NeuralSettings):
    """Which voice, and how it speaks."""


@hookimpl
def settings_class() -> type[BaseModel]:
    return PiperSettings


@hookimpl
def model_spec(settings: PiperSettings) -> ModelSpec:
    return neural.spec_of("piper", settings, "plugins.tts.piper_model")


@hookimpl
def voices(settings: PiperSettings) -> list[str]:
    return [settings.voice or settings.model.stem]


@hookimpl
def load(settings: PiperSettings, device: Device) -> Speaker:
    lacking = [path.name for path in neural.files_of(settings.model) if not path.is_file()]
    if lacking:
        raise ModelUnavailable(
            f"There is no voice of Piper at {settings.model}: {', '.join(lacking)} is missing.",
            "Fetch both files with a network, as `hf download rhasspy/piper-voices en/en_US/lessac/medium/"
            "en_US-lessac-medium.onnx` and `….onnx.json`, and name the first: [plugins.piper] model.",
        )
    try:
        from plugins.tts import piper_model, speaking
    except ImportError as error:
        raise neural.missing(str(error.name), "piper") from error
    engine = piper_model.Piper(settings, device)
    return speaking.Speaker(engine, settings, "Sensorium, Piper")


@hookimpl
def on_text(events: list[Text], model: Speaker, context: Context) -> Iterator[Result | Failure]:
    return model.speak(events, context)
