"""Barcodes and QR codes in pictures, read by zxing-cpp; what they say can be searched."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hooks import Failure, Image, Result, ResultData, hookimpl

api = ">=1,<2"


class Code(BaseModel):
    """One code: its text, its format as "QRCode" or "EAN13", and its corners as x, y in pixels, clockwise."""

    text: str
    format: str
    corners: tuple[tuple[int, int], ...]


class Barcodes(ResultData):
    """All codes of a picture; `text` has a line for each."""

    type = "barcodes"
    text: str
    codes: tuple[Code, ...]


class Settings(BaseModel):
    """What may be set in [plugins.barcode]."""

    model_config = ConfigDict(extra="forbid")

    most: int = Field(20, ge=1, le=255, description="Codes that are read in one picture, at most.")
    megapixels: int = Field(50, ge=1, le=500, description="Larger pictures are refused.")


@hookimpl
def settings_class() -> type[BaseModel]:
    return Settings


@hookimpl
def on_image(events: list[Image], settings: Settings) -> Iterator[Result | Failure]:
    import zxingcpp  # in the worker: the host imports this module too
    from PIL import Image as Pictures
    from PIL import ImageOps

    for event in events:
        try:
            with Pictures.open(event.path) as picture:
                if picture.width * picture.height > settings.megapixels * 1_000_000:
                    yield event.failure(f"It has more than {settings.megapixels} megapixels.")
                    continue
                grey = ImageOps.exif_transpose(picture).convert("L")
        except (OSError, ValueError, SyntaxError, Pictures.DecompressionBombError) as error:
            yield event.failure(f"It cannot be opened: {error}.")
            continue
        found = [_code(one) for one in zxingcpp.read_barcodes(grey)[: settings.most]]
        yield event.result(Barcodes(text="\n".join(code.text for code in found), codes=tuple(found)))


def _code(found: Any) -> Code:
    place = found.position
    corners = (place.top_left, place.top_right, place.bottom_right, place.bottom_left)
    return Code(text=found.text, format=found.format.name, corners=tuple((one.x, one.y) for one in corners))
