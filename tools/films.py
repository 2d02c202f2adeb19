"""Films of which everything is known: which picture is shown from when to when, and what is heard at which second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

RATE = 16_000
SOUND_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture, and for how many seconds it is shown."""

    picture: Image.Image
    seconds: float


@dataclass(frozen=True, slots=True)
class Heard:
    """A sound (int16, mono, 16 kHz) and the second at which it begins."""

    second: float
    samples: np.ndarray


def write_film(
    path: Path,
    shots: Sequence[Shot],
    heard: Sequence[Heard] = (),
    *,
    size: tuple[int, int] = (640, 360),
    rate: int = 25,
    key_frame_every: int = 250,
    rotation: int = 0,
    durations: Sequence[int] | None = None,
) -> float:
    """Write H.264 with AAC where something is heard, in what the name says (.mp4, .mkv); how many seconds it takes.

    Without shots there is only sound. With `durations`, frames last so many ticks of 1/`rate` s in turn.
    `rotation`, in degrees, is for a player to apply, as telephones write it.
    """
    seconds = max([sum(shot.seconds for shot in shots), *(one.second + len(one.samples) / RATE for one in heard)])
    with av.open(str(path), "w") as film:
        picture = film.add_stream("libx264", rate=rate) if shots else None
        if picture is not None:
            picture.width, picture.height = size
            picture.pix_fmt = "yuv420p"
            picture.gop_size = key_frame_every
            picture.codec_context.time_base = Fraction(1, rate)
            picture.options = {"preset": "ultrafast", "crf": "20", "sc_threshold": "0"}
            if rotation:
                picture.set_display_rotation(rotation)
        sound = film.add_stream("aac", rate=RATE, layout="mono") if heard else None
        if picture is not None:
            _write_pictures(film, picture, shots, size, rate, durations)
        if sound is not None:
            _write_sound(film, sound, heard, seconds)
    return seconds


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A picture of that size, in the middle of a ground of its own colour."""
    side = min(size)
    ground = Image.new("RGB", size, picture.convert("RGB").getpixel((1, 1)))
    ground.paste(picture.resize((side, side)), ((size[0] - side) // 2, (size[1] - side) // 2))
    return ground


def _write_pictures(film, stream, shots, size, rate, durations) -> None:
    tick = count = 0
    end = 0.0
    for shot in shots:
        end += shot.seconds
        still = av.VideoFrame.from_image(fitted(shot.picture, size))
        while tick < round(end * rate):
            frame = av.VideoFrame.from_ndarray(still.to_ndarray(format="rgb24"), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, rate)
            film.mux(stream.encode(frame))
            tick += durations[count % len(durations)] if durations else 1
            count += 1
    film.mux(stream.encode(None))


def _write_sound(film, stream, heard, seconds: float) -> None:
    samples = np.zeros(round(seconds * RATE), np.int16)
    for one in heard:
        start = round(one.second * RATE)
        samples[start : start + len(one.samples)] = one.samples
    for start in range(0, len(samples), SOUND_BLOCK):
        frame = av.AudioFrame.from_ndarray(samples[None, start : start + SOUND_BLOCK], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
        film.mux(stream.encode(frame))
    film.mux(stream.encode(None))
