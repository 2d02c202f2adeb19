"""Who speaks when in a recording. Off unless `[plugins.speakers]` names a pipeline.

A pipeline is a folder as those of pyannote.audio are published: config.yaml, and the models that it speaks of. Its
weights are read as numbers; a file that would run code is refused. Nothing is fetched, and nothing is told to anybody.
Source: H. Bredin, pyannote.audio 2.1 speaker diarization pipeline, Interspeech 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from hooks import Audio, Context, Device, Failure, ModelSpec, ModelUnavailable, Result, hookimpl
from plugins.audio.local_model import LocalModelSettings, each

if TYPE_CHECKING:
    from plugins.audio.speakers_model import Speakers

api = ">=1,<2"
optional = True
CONFIG = "config.yaml"
WEIGHTS = "pytorch_model.bin"


class SpeakersSettings(LocalModelSettings):
    """Which pipeline, and what is known of the recordings."""

    model: Path = Field(
        description="The folder of a pipeline, as `hf download pyannote/speaker-diarization-community-1 "
        "--local-dir FOLDER` makes it once its terms are accepted on the hub."
    )
    min_speakers: int | None = Field(None, ge=1, description="At least so many people speak. Without it, it finds out.")
    max_speakers: int | None = Field(None, ge=1, description="At most so many people speak.")
    max_hours: float = Field(4, gt=0, description="Longer recordings are refused: all of it is held in memory.")


@hookimpl
def settings_class() -> type[BaseModel]:
    return SpeakersSettings


@hookimpl
def model_spec(settings: SpeakersSettings) -> ModelSpec:
    return ModelSpec(
        name=f"speakers/{settings.model.name}",
        memory_mb=2000,
        keep_alive=settings.keep_alive,
        time_limit=1800,  # without a step forward
        files=(settings.model / CONFIG, *sorted(settings.model.glob(f"*/{WEIGHTS}"))),
        python=settings.python,
    )


@hookimpl
def load(device: Device, settings: SpeakersSettings) -> Speakers:
    if not (settings.model / CONFIG).is_file():
        raise ModelUnavailable(
            f"There is no pipeline in {settings.model}: {CONFIG} is missing.",
            "Accept the terms of pyannote/speaker-diarization-community-1 on the hub, fetch it with `hf download … "
            "--local-dir FOLDER`, and name that folder: [plugins.speakers] model.",
        )
    try:
        from plugins.audio import speakers_model
    except ImportError as error:
        raise ModelUnavailable(
            f"Speaker turns need the Python package {error.name}.",
            "Install it: pip install 'sensorium[speakers]', or name an interpreter that has it: "
            "[plugins.speakers] python.",
        ) from error
    return speakers_model.load(settings, device)


@hookimpl
def on_audio(events: list[Audio], model: Speakers, context: Context) -> Iterator[Result | Failure]:
    return each(events, lambda event: model.turns(event, context))
