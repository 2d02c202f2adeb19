"""Text in pictures: signs, screens, pages, numbers on shirts. Off unless `[plugins.ocr]` is in the configuration.

The models come with the package rapidocr (PP-OCR, Apache-2.0): Chinese, Japanese and Latin letters; nothing is fetched.
Source: C. Cui et al., PaddleOCR 3.0 Technical Report, arXiv 2507.05595.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, field_validator

from hooks import (
    BadInput,
    Device,
    Failure,
    Image,
    ModelSpec,
    ModelUnavailable,
    PictureText,
    Result,
    TextLine,
    hookimpl,
)

if TYPE_CHECKING:
    from plugins.vision.ocr_model import Reader

api = ">=1,<2"
optional = True


class OcrSettings(BaseModel):
    """How pictures are read."""

    model_config = ConfigDict(extra="forbid")

    min_confidence: float = Field(0.5, ge=0, le=1, description="Lines of which the model is less sure are left out.")
    turned: bool = Field(True, description="Whether to look for lines that stand on their head.")
    longest_side: int = Field(
        2000, ge=64, le=8192, description="Larger pictures are read from a copy of this many pixels."
    )
    max_megapixels: float = Field(80, gt=0, description="Larger pictures are refused by their header.")
    detection: Path | None = Field(None, description="Another model that finds lines, as an ONNX file of PP-OCR.")
    recognition: Path | None = Field(
        None, description="Another model that reads lines, as an ONNX file of PP-OCR with its letters inside."
    )
    keep_alive: float = Field(120, ge=0, description="Seconds without work until the models leave memory; 0: at once.")
    threads: int = Field(0, ge=0, description="Threads on a CPU; 0 for as many as the host gives.")

    @field_validator("detection", "recognition")
    @classmethod
    def _is_absolute(cls, path: Path | None) -> Path | None:
        return path and path.expanduser().absolute()


@hookimpl
def settings_class() -> type[BaseModel]:
    return OcrSettings


@hookimpl
def model_spec(settings: OcrSettings) -> ModelSpec:
    return ModelSpec(
        name="ocr",
        device="cpu",
        memory_mb=600 + round(8 * settings.max_megapixels),
        batch=4,
        keep_alive=settings.keep_alive,
        files=tuple(path for path in (settings.detection, settings.recognition) if path),
        imports=("plugins.vision.ocr_model",),
    )


@hookimpl
def load(device: Device, settings: OcrSettings) -> Reader:
    try:
        from plugins.vision.ocr_model import Reader
    except ImportError as error:
        raise ModelUnavailable(
            f"Reading text in pictures needs the Python package {error.name}.",
            "Install it: pip install 'sensorium[documents]'.",
        ) from error
    return Reader(settings, threads=settings.threads or device.threads)


@hookimpl
def on_image(events: list[Image], model: Reader, settings: OcrSettings) -> Iterator[Result | Failure]:
    for event in events:
        try:
            yield event.result(read(event, model, settings))
        except BadInput as error:
            yield event.failure(str(error))


def read(event: Image, reader: Reader, settings: OcrSettings) -> PictureText:
    """What is written in one picture; boxes by the pixels of the whole picture, upright. Raises BadInput."""
    from plugins.vision import pictures

    with pictures.opened(event, settings.max_megapixels) as image:
        width, _ = pictures.upright_size(image)
        pixels = pictures.decoded(image, settings.longest_side)
    pixels.thumbnail((settings.longest_side, settings.longest_side))
    scale = width / pixels.width
    lines = [
        TextLine(text=text, confidence=round(confidence, 3), box=_scaled(box, scale))
        for text, confidence, box in reader.lines(pixels)
    ]
    return PictureText(text="\n".join(line.text for line in lines), lines=tuple(lines))


def _scaled(box: tuple[float, float, float, float], scale: float) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(scale * number) for number in box)
    return max(left, 0), max(top, 0), max(right, 0), max(bottom, 0)
