"""A pen that draws in the coordinates of one figure: (0, 0) is its middle, 1 its half size, y goes down."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import ImageDraw

from tools.drawn_world.palette import RGB

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a figure stands on the canvas, in pixels: its middle and its half size."""

    x: float
    y: float
    radius: float


@dataclass(frozen=True, slots=True)
class Pen:
    """Draws on `canvas` around `spot`; mirrored left to right first, then turned by `angle` radians (polygons only)."""

    canvas: ImageDraw.ImageDraw
    spot: Spot
    mirrored: bool = False
    angle: float = 0.0

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, colour: RGB) -> None:
        self.canvas.ellipse(self._box(x0, y0, x1, y1), fill=colour)

    def rectangle(self, x0: float, y0: float, x1: float, y1: float, colour: RGB) -> None:
        self.canvas.rectangle(self._box(x0, y0, x1, y1), fill=colour)

    def hoop(self, x0: float, y0: float, x1: float, y1: float, colour: RGB, width: float) -> None:
        """An ellipse's outline, at least two pixels wide."""
        self.canvas.ellipse(self._box(x0, y0, x1, y1), outline=colour, width=max(2, int(width * self.spot.radius)))

    def polygon(self, points: Sequence[Point], colour: RGB) -> None:
        self.canvas.polygon([self._place(*point) for point in points], fill=colour)

    def line(self, points: Sequence[Point], colour: RGB, width: float) -> None:
        pixels = max(1, int(width * self.spot.radius))
        self.canvas.line([self._place(*point) for point in points], fill=colour, width=pixels, joint="curve")

    def _place(self, x: float, y: float) -> Point:
        if self.mirrored:
            x = -x
        if self.angle:
            cosine, sine = math.cos(self.angle), math.sin(self.angle)
            x, y = x * cosine - y * sine, x * sine + y * cosine
        return self.spot.x + x * self.spot.radius, self.spot.y + y * self.spot.radius

    def _box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        sign = -1 if self.mirrored else 1
        left, right = sorted((self.spot.x + sign * x0 * self.spot.radius, self.spot.x + sign * x1 * self.spot.radius))
        return left, self.spot.y + y0 * self.spot.radius, right, self.spot.y + y1 * self.spot.radius
