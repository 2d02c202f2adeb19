"""Pictures brought into the form that a model takes: upright, RGB, of a size and number of bytes; enhanced on wish.

This module imports Pillow and NumPy, so only workers and commands import it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field

from hooks import BadInput
from plugins.vision import enhance

STATED_MB_A_MEGAPIXEL = 300  # of a vision-language model's memory
LOWEST_QUALITY = 40
SMALLEST_SIDE = 32
PADDING = (122, 116, 104)  # the mean that CLIP's preprocessing takes away


class Limits(BaseModel):
    """What a model takes: the longer side in pixels, bytes of the encoded picture, and whether it must be square."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    longest_side: int = Field(1024, ge=SMALLEST_SIDE, le=4096)
    format: Literal["png", "jpeg"] = "jpeg"
    quality: int = Field(90, ge=LOWEST_QUALITY, le=95)
    max_bytes: int = Field(8_000_000, ge=10_000)
    square: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """An encoded picture; `scale` is the size of what it shows over that in the picture it was made of."""

    content: bytes
    media_type: str
    width: int
    height: int
    scale: float

    @property
    def memory_mb(self) -> float:
        """What a model is said to need for it, by its megapixels."""
        return estimated_mb(self.width, self.height)


Steps = Sequence[enhance.Lab | enhance.Contrast | enhance.Exposure]


def prepared(picture: Image.Image, limits: Limits, steps: Steps = ()) -> Prepared:
    """An upright RGB picture within the limits. Raises BadInput when it cannot be made small enough."""
    scale = min(1.0, limits.longest_side / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = enhance.enhanced(picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS), steps)
    if limits.square:
        small = ImageOps.pad(small, (max(size), max(size)), color=PADDING)
    content, last = _within(small, limits)
    scale *= max(last.size) / max(small.size)
    return Prepared(content, f"image/{limits.format}", *last.size, scale)


def opened(picture: Prepared) -> Image.Image:
    """Its pixels, as a model gets them."""
    return Image.open(BytesIO(picture.content)).convert("RGB")


def estimated_mb(width: int, height: int) -> float:
    """What a model is said to need for a picture of so many pixels, in MB."""
    return STATED_MB_A_MEGAPIXEL * width * height / 1e6


def batches(pictures: Iterable[Prepared], room_mb: float, most: int) -> Iterator[list[Prepared]]:
    """The pictures in groups that fit the room, small ones first; one that never fits is alone."""
    group: list[Prepared] = []
    used = 0.0
    for picture in sorted(pictures, key=lambda one: one.width * one.height):
        if group and (used + picture.memory_mb > room_mb or len(group) >= most):
            yield group
            group, used = [], 0.0
        group.append(picture)
        used += picture.memory_mb
    if group:
        yield group


def side_by_side(before: Image.Image, after: Image.Image) -> Image.Image:
    """Both in one picture, of the same height, with a line between them."""
    height = max(before.height, after.height)
    left, right = (one.resize((max(1, one.width * height // one.height), height)) for one in (before, after))
    both = Image.new("RGB", (left.width + right.width + 4, height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + 4, 0))
    return both


def _within(picture: Image.Image, limits: Limits) -> tuple[bytes, Image.Image]:
    """Encoded in at most so many bytes: first with less quality, then with fewer pixels."""
    while min(picture.size) > 0:
        for quality in _qualities(limits):
            content = _encoded(picture, limits.format, quality)
            if len(content) <= limits.max_bytes:
                return content, picture
        if max(picture.size) <= SMALLEST_SIDE:
            break
        picture = picture.resize((max(1, picture.width * 3 // 4), max(1, picture.height * 3 // 4)))
    raise BadInput(
        f"The picture cannot be encoded in {limits.max_bytes:,} bytes.", "Raise the limit, or crop the picture."
    )


def _qualities(limits: Limits) -> Iterator[int]:
    yield limits.quality
    if limits.format == "jpeg":
        yield from range(limits.quality - 15, LOWEST_QUALITY - 1, -15)


def _encoded(picture: Image.Image, form: str, quality: int) -> bytes:
    file = BytesIO()
    picture.save(file, form, **({"quality": quality} if form == "jpeg" else {}))
    return file.getvalue()
