"""espeak-ng: texts as speech in more than a hundred languages, at once and on any machine; clear, and like a robot.

It speaks what a route sends it: as config.toml has it, texts that are dropped into a folder `speak`.
espeak-ng is under the GPL, version 3 or later; its library is loaded in the worker process alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from hooks import Context, Failure, ModelSpec, ModelUnavailable, Result, Text, hookimpl
from plugins.tts.catalog import catalog
from plugins.tts.settings import SpeakerSettings

if TYPE_CHECKING:
    from plugins.tts.speaking import Speaker

by_route = True
api = ">=1,<2"


class EspeakSettings(SpeakerSettings):
    """Which voice, and how it speaks."""

    voice: str = Field(
        "", description='As "en-gb", "de+f3" or "fr+m2"; without it, that of the language which the text is in.'
    )
    language: str = Field("", description='What texts are in, as "de"; without it, told from their words.')
    library: Path | None = Field(
        None, description="The shared library. Without it, that of espeakng-loader or the system's."
    )


@hookimpl
def settings_class() -> type[BaseModel]:
    return EspeakSettings


@hookimpl
def model_spec(settings: EspeakSettings) -> ModelSpec:
    return ModelSpec(
        name="espeak-ng",
        device="none",  # two seconds of speech cost two milliseconds
        memory_mb=catalog()["espeak"].memory_mb,
        batch=16,
        keep_alive=settings.keep_alive,
        time_limit=120,  # without a step forward: a step is a few thousand characters
        imports=("plugins.tts.speaking", "plugins.tts.espeak_library"),
    )


@hookimpl
def voices() -> list[str]:
    return [voice.name for voice in catalog()["espeak"].voices]


@hookimpl
def load(settings: EspeakSettings) -> Speaker:
    try:
        from plugins.tts import espeak_library, speaking
    except ImportError as error:
        raise ModelUnavailable(
            f"Speech needs the Python package {error.name}.", "Install it: pip install 'sensorium[tts]'."
        ) from error
    return speaking.Speaker(espeak_library.Espeak(settings.library), settings, "Sensorium, espeak-ng")


@hookimpl
def on_text(events: list[Text], model: Speaker, context: Context) -> Iterator[Result | Failure]:
    return model.speak(events, context)
