"""What every family of voices lets choose; cheap to import."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class SpeakerSettings(BaseModel):
    """How a plugin that speaks does it."""

    model_config = ConfigDict(extra="forbid")

    speed: float = Field(1.0, ge=0.25, le=4, description="1 is the voice's usual speed.")
    pitch: float = Field(0.0, ge=-12, le=12, description="Semitones up or down, where the family can.")
    format: Literal["wav", "mp3", "opus"] = Field(
        "wav", description="Of the recordings; all but wav need ffmpeg (the extra video, or the system's)."
    )
    loudness: float = Field(-19, ge=-40, le=-10, description="In LUFS (ITU-R BS.1770), the same for all recordings.")
    paragraph_pause: float = Field(0.5, ge=0, le=10, description="Seconds of silence between paragraphs.")
    ssml: bool = Field(True, description="Whether a text that begins with <speak is read as SSML.")
    languages: tuple[str, ...] = Field(
        ("en", "de", "fr"), min_length=1, description="In which of them a text is, is told from its words."
    )
    max_characters: int = Field(500_000, ge=1, le=1_000_000, description="Longer texts are refused.")
    keep_alive: float = Field(300, ge=0, description="Seconds without work until the worker ends; 0: at once.")


class NeuralSettings(SpeakerSettings):
    """How a plugin does it whose voice is a model in a folder."""

    model: Path = Field(description="The model's file or folder on this machine.")
    voice: str = Field("", description="A speaker of a model that has several; without it, the first one.")
    language: str = Field("", description="What texts are in, as a model of several languages calls it.")
    sentence_pause: float = Field(0.25, ge=0, le=10, description="Seconds of silence after a sentence.")
    python: Path | None = Field(None, description="The interpreter of another environment, where the package is.")
    threads: int = Field(0, ge=0, description="Threads on a CPU; 0 for as many as the host gives.")

    @field_validator("model")
    @classmethod
    def _is_absolute(cls, model: Path) -> Path:
        return model.expanduser().absolute()
