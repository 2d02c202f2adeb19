"""Whisper: what is said in a recording, in which language, and when.

Long recordings are heard piece by piece, cut at silences: memory stays flat, and after a crash the work goes on at the
last finished piece. Silence and noise give an empty transcript.
Source: A. Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, arXiv 2212.04356.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hooks import (
    Audio,
    BadInput,
    Context,
    Device,
    Failure,
    Kind,
    ModelSpec,
    ModelUnavailable,
    Result,
    hookimpl,
)
from plugins.audio.whisper_catalog import WEIGHTS, Entry, catalog, chosen

if TYPE_CHECKING:
    from plugins.audio.hearing import Hearing

# Recordings that the host does not know by itself.
api = ">=1,<2"

HEADS = {
    b"caff": "audio/x-caf",
    b".snd": "audio/basic",
    b"wvpk": "audio/x-wavpack",
    b"riff\x2e\x91\xcf\x11": "audio/x-w64",
    b"\x0b\x77": "audio/ac3",
    b"\xff\xfd": "audio/mpeg",
    b"\xff\xfc": "audio/mpeg",
}


class WhisperSettings(BaseModel):
    """Which Whisper, and how it listens."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(
        "bundled",
        description='"bundled" (knows a few words), "tiny", "base", "small", "medium", "large-v3", "turbo" or another '
        "of catalog.toml, or the path of a folder with a model that was converted for CTranslate2.",
    )
    language: str | None = Field(
        None, pattern="^[a-z]{2,3}$", description='What is spoken, as "en". Without it, the model finds out.'
    )
    translate: bool = Field(False, description="Whether to write English, whatever is spoken.")
    words: bool = Field(False, description="Whether to tell when each word is said, which takes more time.")
    prompt: str = Field("", max_length=500, description="Names and terms that occur, so that they are spelled right.")
    context: bool = Field(
        False,
        description="With batch = 1: whether to go on from what was said before; more even, but errors may repeat.",
    )
    beam: int | None = Field(None, ge=1, le=20, description="Hypotheses to follow. Without it, as the catalog has it.")
    batch: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Windows that are decoded at a time; 1: one after the other. Without it, as the catalog has it.",
    )
    together: float | None = Field(
        None,
        ge=0,
        le=30,
        description="Seconds in which neighbouring stretches of speech are heard together; less means shorter "
        "segments. Without it, as the catalog has it.",
    )
    temperatures: tuple[float, ...] | None = Field(
        None, description="Tried in turn where a result looks bad, with batch = 1. Without it, as the catalog has it."
    )
    compute_type: str = Field(
        "", description='How weights are kept, as "int8" or "float16"; "": int8 on a CPU, float16 on a GPU.'
    )
    speech_threshold: float = Field(
        0.5, gt=0, lt=1, description="How sure it must be that somebody speaks before it listens."
    )
    low_confidence: float = Field(
        -0.8, le=0, description="Segments whose average log probability is lower are marked as doubtful."
    )
    piece_seconds: float = Field(
        120, ge=45, le=3600, description="Sound that is held in memory, and heard again at most after a crash."
    )
    max_hours: float = Field(24, gt=0, description="Longer recordings are refused.")
    keep_alive: float = Field(300, ge=0, description="Seconds without work until the model leaves memory; 0: at once.")
    threads: int = Field(0, ge=0, description="Threads on a CPU; 0 for as many as the host gives.")

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        entry = chosen(self.model)
        if entry is None:
            known = ", ".join(catalog())
            raise ValueError(f"model {self.model!r} is not known; these are: {known}, and folders (with a /)")
        if self.translate and not entry.translates:
            raise ValueError(f"model {self.model!r} cannot translate")
        if self.language and entry.languages and self.language not in entry.languages:
            raise ValueError(f"model {self.model!r} knows {', '.join(entry.languages)} and not {self.language!r}")
        return self

    @property
    def entry(self) -> Entry:
        """The model that is meant."""
        entry = chosen(self.model)
        assert entry is not None  # validated
        return entry


@hookimpl
def settings_class() -> type[BaseModel]:
    return WhisperSettings


@hookimpl
def model_spec(settings: WhisperSettings) -> ModelSpec:
    entry = settings.entry
    folder = entry.local_folder
    return ModelSpec(
        name=f"whisper/{entry.name}",
        memory_mb=entry.memory_mb,
        keep_alive=settings.keep_alive,
        time_limit=1800,  # without a step forward: a step is a window, or a batch of them
        load_time_limit=600 if folder else 7200,  # the hub may have to send the weights first
        files=(folder / WEIGHTS,) if folder else (),
        imports=("plugins.audio.hearing",),
    )


@hookimpl
def identify(head: bytes) -> tuple[Kind, str] | None:
    return next((("audio", media_type) for start, media_type in HEADS.items() if head.startswith(start)), None)


@hookimpl
def load(device: Device, settings: WhisperSettings) -> Hearing:
    try:
        from plugins.audio import hearing
    except ImportError as error:
        raise ModelUnavailable(
            f"Whisper needs the Python package {error.name}.", "Install it: pip install 'sensorium[audio]'."
        ) from error
    return hearing.load(settings, device)


@hookimpl
def on_audio(events: list[Audio], model: Hearing, context: Context) -> Iterator[Result | Failure]:
    for event in events:
        started = time.monotonic()
        try:
            transcript = model.transcript(event, context)
        except BadInput as error:
            yield event.failure(str(error))
            continue
        spent = round(1000 * (time.monotonic() - started))
        yield event.result(transcript.model_copy(update={"processing_time_ms": spent}))
