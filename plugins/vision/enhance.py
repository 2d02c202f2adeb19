"""Pictures made clearer for a model, or for eyes: lightness and colour, contrast, exposure. Each is off at first.

All take and give RGB pictures of the same size. The defaults are those that the settings have when switched on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, Field

Floats = NDArray[np.float32]

# CIE 1931 XYZ of linear sRGB and the white point D65 (IEC 61966-2-1).
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]], np.float32)
FROM_XYZ = np.linalg.inv(TO_XYZ).astype(np.float32)
WHITE = TO_XYZ.sum(axis=1)
STRIP = 1 << 20  # pixels that are worked on at a time: floats take twelve times the room of bytes
DARK, LIGHT = 0.35, 0.65  # mean grey below and above which a picture counts as dark or light
WELL_EXPOSED = 0.2  # width of the bell around middle grey, as Mertens et al. have it


class Lab(BaseModel):
    """Lightness and colour in CIELAB, each times a factor."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    lightness: float = Field(1.2, gt=0, le=4)
    color: float = Field(1.2, ge=0, le=4)

    def apply(self, picture: Image.Image) -> Image.Image:
        """Source: CIE 015:2018, the colour space L*a*b*."""
        return _by_strips(picture, self._strip)

    def _strip(self, rgb: Floats) -> Floats:
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        x, y, z = np.moveaxis(_root(linear @ TO_XYZ.T / WHITE), -1, 0)
        middle = np.minimum((116 * y - 16) * self.lightness, 100) / 116 + 16 / 116
        parts = (middle + self.color * (x - y), middle, middle - self.color * (y - z))
        back = np.stack([_cube(part) for part in parts], axis=-1) * WHITE @ FROM_XYZ.T
        back = np.clip(back, 0, 1)
        return np.where(back <= 0.0031308, back * 12.92, 1.055 * back ** (1 / 2.4) - 0.055)


class Contrast(BaseModel):
    """More contrast for dark and for light pictures, then the whole range of grey is used."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    dark: float = Field(1.4, ge=1, le=4)
    light: float = Field(1.2, ge=1, le=4)
    cutoff: float = Field(0.5, ge=0, le=20, description="Per cent of the darkest and of the lightest left out of it.")

    def apply(self, picture: Image.Image) -> Image.Image:
        """Contrast around the picture's own mean, so that it neither gets darker nor lighter by it."""
        grey = np.asarray(picture.convert("L"), dtype=np.float32) / 255
        mean = float(grey.mean())
        factor = self.dark if mean < DARK else self.light if mean > LIGHT else 1.0
        if factor > 1:
            picture = picture.point(
                [round(255 * min(max(mean + factor * (v / 255 - mean), 0), 1)) for v in range(256)] * 3
            )
        return ImageOps.autocontrast(picture, cutoff=self.cutoff, preserve_tone=True)


class Exposure(BaseModel):
    """One picture as if it were three with other exposures, blended where each is neither too dark nor too light."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    strength: float = Field(0.5, ge=0, le=1)
    under: float = Field(0.7, gt=0, le=1)
    over: float = Field(1.3, ge=1, le=4)

    def apply(self, picture: Image.Image) -> Image.Image:
        """Source: T. Mertens et al., Exposure Fusion, Pacific Graphics 2007; by each pixel alone, so without halos."""
        grey = np.arange(256, dtype=np.float32) / 255
        factors = (self.under, 1.0, self.over)
        weights = [np.exp(-((np.minimum(factor * grey, 1) - 0.5) ** 2) / (2 * WELL_EXPOSED**2)) for factor in factors]
        share = sum(factor * weight for factor, weight in zip(factors, weights, strict=True)) / sum(weights)
        gain = (1 + self.strength * (share - 1)).astype(np.float32)
        pixels = np.asarray(picture, dtype=np.float32) * gain[np.asarray(picture.convert("L"))][:, :, None]
        return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


BY_NAME: dict[str, type[Lab] | type[Contrast] | type[Exposure]] = {
    "lab": Lab,
    "contrast": Contrast,
    "exposure": Exposure,
}


def enhanced(picture: Image.Image, steps: Sequence[Lab | Contrast | Exposure]) -> Image.Image:
    """The picture after these steps, in their order."""
    for step in steps:
        picture = step.apply(picture)
    return picture


def _by_strips(picture: Image.Image, work: Any) -> Image.Image:
    result = Image.new("RGB", picture.size)
    rows = max(1, STRIP // picture.width)
    for top in range(0, picture.height, rows):
        box = (0, top, picture.width, min(top + rows, picture.height))
        strip = work(np.asarray(picture.crop(box), dtype=np.float32) / 255)
        result.paste(Image.fromarray((np.clip(strip, 0, 1) * 255 + 0.5).astype(np.uint8)), box)
    return result


def _root(values: Floats) -> Floats:
    """The function f of CIELAB."""
    return np.where(values > 216 / 24389, np.cbrt(values), values * (24389 / 27 / 116) + 16 / 116)


def _cube(values: Floats) -> Floats:
    return np.where(values > 6 / 29, values**3, (values - 16 / 116) * (116 * 27 / 24389))
