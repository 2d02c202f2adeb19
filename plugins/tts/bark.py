"""Bark: speech with emotions and sounds by transformers; slow. Off unless `[plugins.bark]` names a model.

A model is a folder with config.json, the tokenizer and safetensors, as `hf download suno/bark-small --local-dir FOLDER`
brings it (converted where it has only pickled weights, which can run code and are not read).
Source: https://github.com/suno-ai/bark; MIT.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from hooks import Context, Device, Failure, ModelSpec, ModelUnavailable, Result, Text, hookimpl
from plugins.tts import neural
from plugins.tts.settings import NeuralSettings

if TYPE_CHECKING:
    from plugins.tts.speaking import Speaker

optional = True
by_route = True
api = ">=1,<2"
FILES = ("config.json", "model.safetensors")


class BarkSettings(NeuralSettings):
    """Which model, and how it speaks."""

    seed: int = Field(7, ge=0, description="Who speaks, where no voice is named: the same number, the same voice.")


@hookimpl
def settings_class() -> type[BaseModel]:
    return BarkSettings


@hookimpl
def model_spec(settings: BarkSettings) -> ModelSpec:
    return neural.spec_of("bark", settings, "plugins.tts.bark_model")


@hookimpl
def voices(settings: BarkSettings) -> list[str]:
    return [settings.model.name]


@hookimpl
def load(settings: BarkSettings, device: Device) -> Speaker:
    lacking = [name for name in FILES if not (settings.model / name).is_file()]
    if lacking:
        raise ModelUnavailable(
            f"There is no model of Bark in {settings.model}: {', '.join(lacking)} is missing.",
            "Fetch one with a network: `hf download suno/bark-small --local-dir FOLDER`, and name that folder.",
        )
    try:
        from plugins.tts import bark_model, speaking
    except ImportError as error:
        raise neural.missing(str(error.name), "transformers") from error
    return speaking.Speaker(bark_model.Bark(settings, device), settings, "Sensorium, Bark")


@hookimpl
def on_text(events: list[Text], model: Speaker, context: Context) -> Iterator[Result | Failure]:
    return model.speak(events, context)
