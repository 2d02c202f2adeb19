"""How voices sound in a recording: happy, angry, calm. Off unless `[plugins.emotion]` names a model.

A model is a folder with an audio classifier of transformers (wav2vec 2.0, HuBERT, WavLM): config.json,
preprocessor_config.json and model.safetensors. Which names there are is the model's own matter. It judges how something
is said, not what, and each recording and speaker anew: take it for a hint.
Source: A. Baevski et al., wav2vec 2.0, arXiv 2006.11477.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field

from hooks import Audio, Context, Device, Failure, ModelSpec, ModelUnavailable, Result, hookimpl
from plugins.audio.local_model import LocalModelSettings, each

if TYPE_CHECKING:
    from plugins.audio.emotion_model import Emotions

api = ">=1,<2"
optional = True
FILES = ("config.json", "preprocessor_config.json", "model.safetensors")


class EmotionSettings(LocalModelSettings):
    """Which model, and how it listens."""

    model: Path = Field(
        description="The folder of an audio classifier, as `hf download NAME --local-dir FOLDER` makes it."
    )
    window: float = Field(8, ge=1, le=30, description="Seconds that are judged together.")
    top: int = Field(3, ge=1, description="How many names to tell, best first.")
    batch: int = Field(4, ge=1, le=64, description="Windows that are judged at once.")


@hookimpl
def settings_class() -> type[BaseModel]:
    return EmotionSettings


@hookimpl
def model_spec(settings: EmotionSettings) -> ModelSpec:
    return ModelSpec(
        name=f"emotion/{settings.model.name}",
        memory_mb=1500,
        keep_alive=settings.keep_alive,
        time_limit=600,  # without a step forward
        files=tuple(settings.model / name for name in FILES),
        python=settings.python,
    )


@hookimpl
def load(device: Device, settings: EmotionSettings) -> Emotions:
    missing = [name for name in FILES if not (settings.model / name).is_file()]
    if missing:
        raise ModelUnavailable(
            f"There is no audio classifier in {settings.model}: {', '.join(missing)} is missing.",
            "Fetch one with `hf download NAME --local-dir FOLDER`, as superb/wav2vec2-base-superb-er, and name that "
            "folder: [plugins.emotion] model. Weights have to be safetensors: other files can run code.",
        )
    try:
        from plugins.audio import emotion_model
    except ImportError as error:
        raise ModelUnavailable(
            f"Emotion needs the Python package {error.name}.",
            "Install it: pip install 'sensorium[emotion]', or name an interpreter that has it: "
            "[plugins.emotion] python.",
        ) from error
    return emotion_model.load(settings, device)


@hookimpl
def on_audio(events: list[Audio], model: Emotions, context: Context) -> Iterator[Result | Failure]:
    return each(events, lambda event: model.emotion(event, context))
