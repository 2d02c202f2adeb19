"""What can be said of a picture without any model: size, format, colours, a hash that survives scaling, a thumbnail."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import TYPE_CHECKING, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from hooks import BadInput, Color, Failure, Image, ImageInfo, ModelSpec, Result, Thumbnail, hookimpl

if TYPE_CHECKING:
    from PIL.Image import Image as Pixels

api = ">=1,<2"

SAMPLE_SIDE = 128

RGB = tuple[int, int, int]


class MetadataSettings(BaseModel):
    """What to say of each picture."""

    model_config = ConfigDict(extra="forbid")

    gps: bool = Field(False, description="Tell the place that the camera recorded; off, because it is private.")
    colors: int = Field(5, ge=1, le=32, description="How many dominant colours to name.")
    thumbnail_side: int = Field(320, ge=16, le=2048, description="Longest side of the thumbnail in pixels.")
    thumbnail_format: Literal["jpeg", "webp"] = Field("jpeg", description="How the thumbnail is encoded.")
    thumbnail_quality: int = Field(80, ge=1, le=95, description="Quality of the encoded thumbnail.")
    max_megapixels: float = Field(80, gt=0, description="Larger pictures are refused by their header.")
    max_frames: int = Field(500, ge=1, description="How far the frames of a TIFF are counted; only the first is read.")


@hookimpl
def settings_class() -> type[BaseModel]:
    return MetadataSettings


@hookimpl
def model_spec(settings: MetadataSettings) -> ModelSpec:
    peak = 60 + round(8 * settings.max_megapixels)  # the libraries, then RGBA and its copy on white
    return ModelSpec(name="metadata", device="none", batch=16, keep_alive=60, memory_mb=peak)


@hookimpl
def on_image(events: list[Image], settings: MetadataSettings) -> Iterator[Result | Failure]:
    for event in events:
        try:
            info, thumbnail = describe(event, settings)
        except BadInput as error:
            yield event.failure(str(error))
        else:
            yield event.result(info)
            yield event.result(thumbnail)


def describe(event: Image, settings: MetadataSettings) -> tuple[ImageInfo, Thumbnail]:
    """Both results of one picture, decoded once and no larger than the thumbnail needs; raises BadInput."""
    from plugins.vision import exif, pictures

    with pictures.opened(event, settings.max_megapixels) as image:
        width, height = pictures.upright_size(image)
        header = {
            "width": width,
            "height": height,
            "format": image.format or "",
            "mode": image.mode,
            "frames": pictures.frame_count(image, settings.max_frames),
            "orientation": pictures.orientation(image),
            "exif": exif.values(image, gps=settings.gps),
        }
        pixels = pictures.decoded(image, settings.thumbnail_side)
    seen = {"dominant_colors": dominant_colors(pixels, settings.colors), "perceptual_hash": perceptual_hash(pixels)}
    return ImageInfo(**header, **seen), thumbnail_of(pixels, settings)


def thumbnail_of(pixels: Pixels, settings: MetadataSettings) -> Thumbnail:
    """A small encoded copy without any metadata; never larger than the picture."""
    small = pixels.copy()
    small.thumbnail((settings.thumbnail_side, settings.thumbnail_side))
    file = BytesIO()
    small.save(file, settings.thumbnail_format, quality=settings.thumbnail_quality)
    media_type = f"image/{settings.thumbnail_format}"
    return Thumbnail(media_type=media_type, width=small.width, height=small.height, content=file.getvalue())


def dominant_colors(pixels: Pixels, count: int) -> tuple[Color, ...]:
    """The colours that cover most, largest share first: median cut on a small copy, close ones taken together."""
    from PIL.Image import Resampling

    small = pixels.copy()
    small.thumbnail((SAMPLE_SIDE, SAMPLE_SIDE), Resampling.BOX)  # which makes no colours of its own beside an edge
    few = small.quantize(2 * count).convert("RGB").getcolors() or []
    shares: dict[RGB, int] = {}
    for covered, color in sorted(cast("list[tuple[int, RGB]]", few), reverse=True):
        same = next((known for known in shares if is_close(known, color)), color)
        shares[same] = shares.get(same, 0) + covered
    best = sorted(shares.items(), key=lambda item: -item[1])[:count]
    area = small.width * small.height
    return tuple(Color(hex="#" + bytes(color).hex(), share=round(covered / area, 4)) for color, covered in best)


def is_close(one: RGB, other: RGB) -> bool:
    """Whether two colours would be called the same: no channel differs by more than 24 of 255."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) <= 24


def perceptual_hash(pixels: Pixels) -> str:
    """64 bits in hex, of which near copies differ in few."""
    import numpy as np

    from plugins.vision.hashes import SIDE, bits_of

    grey = np.asarray(pixels.convert("L").resize((SIDE, SIDE)), dtype=np.float64)
    return np.packbits(bits_of(grey)).tobytes().hex()
