"""What every family of voices lets choose; cheap to import."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


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
