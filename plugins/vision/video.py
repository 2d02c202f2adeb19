"""Films: pictures every few seconds, the sound and the subtitles, each of which goes on as an event of its own.

One reading of the file gives all of them. Key frames alone are decoded where they stand close enough.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from hooks import (
    BadInput,
    Context,
    Derived,
    Device,
    Event,
    Failure,
    ModelSpec,
    ModelUnavailable,
    Result,
    Video,
    VideoInfo,
    hookimpl,
)
from plugins.programs import find_ffmpeg

if TYPE_CHECKING:
    from plugins.vision.extraction import Extractor
    from plugins.vision.film import Film

api = ">=1,<2"

LONGEST_STEM = 80


class VideoSettings(BaseModel):
    """What to take out of a film, and what is too much."""

    model_config = ConfigDict(extra="forbid")

    every: float = Field(2.0, ge=0.1, le=3600, description="Seconds between two pictures.")
    scenes: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="When set, as 0.3: pictures where the film changes by more than this share, and not every so many "
        "seconds.",
    )
    same: int = Field(
        4, ge=0, le=64, description="A picture that differs from the last in so many of 64 bits, or less, is left out."
    )
    picture_side: int = Field(1280, ge=64, le=8192, description="The longer side of a picture in pixels, at most.")
    sound: bool = Field(True, description="Whether to take the sound: 16 kHz, mono, FLAC.")
    subtitles: bool = Field(True, description="Whether to take subtitles that are text.")
    max_hours: float = Field(6, gt=0, description="Longer films are refused.")
    max_megapixels: float = Field(36, gt=0, description="Films with larger pictures are refused.")
    max_streams: int = Field(32, ge=1, le=1000, description="Files with more streams are refused.")
    cpu_minutes: float = Field(120, gt=0, description="Time on the processor for one film, before it is given up.")
    ffmpeg: Path | None = Field(None, description="The program. Without it, the one of imageio-ffmpeg or the system's.")
    keep_alive: float = Field(60, ge=0, description="Seconds without work until the worker ends.")


@hookimpl
def settings_class() -> type[BaseModel]:
    return VideoSettings


@hookimpl
def model_spec(settings: VideoSettings) -> ModelSpec:
    return ModelSpec(
        name="ffmpeg",
        device="cpu",  # it computes as a model does: others on the processor wait meanwhile
        memory_mb=600,
        keep_alive=settings.keep_alive,
        time_limit=2 * 60 * settings.cpu_minutes,
    )


@hookimpl
def load(device: Device, settings: VideoSettings) -> Extractor:
    try:
        from plugins.vision import extraction
    except ImportError as error:
        raise ModelUnavailable(
            f"Films need the Python package {error.name}.", "Install it: pip install 'sensorium[video]'."
        ) from error
    return extraction.Extractor(find_ffmpeg(settings.ffmpeg), device.threads)


@hookimpl
def on_video(
    events: list[Video], model: Extractor, settings: VideoSettings, context: Context
) -> Iterator[Result | Derived | Failure]:
    for event in events:
        try:
            yield from taken_apart(event, model, settings, context)
        except BadInput as error:
            yield event.failure(str(error))


def taken_apart(
    event: Event, extractor: Extractor, settings: VideoSettings, context: Context
) -> Iterator[Result | Derived]:
    """All that is taken out of one film, and what is known of it; raises BadInput."""
    from plugins.vision import film

    known = film.probe(event, settings)
    taken = extractor.extract(event, known, settings, context)
    stem = stem_of(event.name)
    for picture in taken.pictures:
        name = f"{stem} {moment_in_name(picture.moment)}.jpg"
        yield event.derived(picture.path, "frame", name=name, moment=picture.moment)
    if taken.sound is not None:
        yield event.derived(taken.sound, "sound", name=f"{stem}.flac", moment=0.0)
    for number, (path, language) in enumerate(taken.subtitles):
        tag = f".{language}" if language else f".{number}" if number else ""
        yield event.derived(path, "subtitles", name=f"{stem}{tag}.srt", moment=0.0, language=language)
    yield event.result(_info(known, len(taken.pictures), taken.problems))


def _info(film: Film, pictures: int, problems: tuple[str, ...]) -> VideoInfo:
    width, height = film.upright_size
    return VideoInfo(
        seconds=film.seconds,
        width=width,
        height=height,
        frame_rate=film.frame_rate,
        codec=film.codec,
        sound_codec=film.sound_codec,
        subtitles=tuple(one.language for one in film.subtitles),
        frames=pictures,
        problems=(*film.problems, *problems),
    )


def stem_of(name: str) -> str:
    """A film's name without its extension, short and printable, for the names of what is taken out of it."""
    stem = "".join(character if character.isprintable() else "_" for character in PurePath(name).stem) or "film"
    return stem.encode()[:LONGEST_STEM].decode(errors="ignore")


def moment_in_name(moment: float) -> str:
    """A moment as it may stand in a file's name: 00-12-31.500."""
    whole, thousandths = divmod(round(moment * 1000), 1000)
    return f"{whole // 3600:02}-{whole // 60 % 60:02}-{whole % 60:02}.{thousandths:03}"


def readable(text: str) -> str:
    """What a library says, in one line."""
    return re.sub(r"[^ -~]+", " ", text)[:200].strip(" .")
