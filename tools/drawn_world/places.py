"""The plain backgrounds and the seven places, painted over the whole canvas."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from PIL import Image, ImageDraw

from tools.drawn_world.palette import PAPERS, RGB, darken, jitter

CLOUD, SUN, SNOW, LANE, FLOOR = (252, 252, 255), (252, 220, 70), (245, 248, 252), (240, 240, 230), (150, 140, 135)
WAVE, BLADE = (190, 220, 250), (50, 130, 45)


@dataclass(frozen=True, slots=True)
class Ground:
    """A painted setting: its main colour (a shape's hole shows it) and the y in pixels where icons stand."""

    image: Image.Image
    colour: RGB
    horizon: float


@dataclass(frozen=True, slots=True)
class Canvas:
    """What a place is painted with: `side` pixels square, everything below `horizon` is ground."""

    draw: ImageDraw.ImageDraw
    side: int
    horizon: int
    rng: random.Random

    def band(self, top: float, bottom: float, colour: RGB) -> None:
        self.draw.rectangle([0, top, self.side, bottom], fill=colour)

    def dot(self, x: float, y: float, width: float, height: float, colour: RGB) -> None:
        self.draw.ellipse([x - width, y - height, x + width, y + height], fill=colour)

    def random_point(self, top: int = 0) -> tuple[int, int]:
        return self.rng.randint(0, self.side), self.rng.randint(top, self.side)


def paint_ground(setting: str, side: int, rng: random.Random) -> Ground:
    """Paint a setting on a new RGB canvas of `side` pixels; every random choice comes from `rng`."""
    if setting in PAPERS:
        paper = jitter(PAPERS[setting], rng, 6)
        return Ground(Image.new("RGB", (side, side), paper), paper, side / 2)
    sky = jitter((150, 200, 240), rng, 18)
    image = Image.new("RGB", (side, side), sky)
    canvas = Canvas(ImageDraw.Draw(image), side, int(side * rng.uniform(0.58, 0.72)), rng)
    PLACE_PAINTERS[setting](canvas)
    return Ground(image, sky, canvas.horizon)


def grass(canvas: Canvas) -> None:
    side = canvas.side
    canvas.band(canvas.horizon, side, jitter((80, 175, 70), canvas.rng))
    for _ in range(40):
        x, y = canvas.random_point(canvas.horizon)
        canvas.draw.line([x, y, x + side / 80, y - side * 3 / 80], fill=BLADE, width=max(1, side // 80))


def road(canvas: Canvas) -> None:
    side = canvas.side
    canvas.band(canvas.horizon - side // 12, side, jitter((120, 165, 100), canvas.rng, 10))
    canvas.band(canvas.horizon, side, jitter((95, 95, 98), canvas.rng, 8))
    y = (canvas.horizon + side) // 2 + side // 14
    for x in range(canvas.rng.randint(-side * 3 // 16, 0), side, side // 4):
        canvas.draw.rectangle([x, y, x + side // 8, y + side // 40], fill=LANE)


def water(canvas: Canvas) -> None:
    side, horizon = canvas.side, canvas.horizon
    canvas.band(horizon, side, jitter((40, 100, 190), canvas.rng))
    for row in range(4):
        y = horizon + (side - horizon) * (row + 0.5) / 4
        for x in range(side * (row * 9 - 10) // 160, side, side // 5):
            box = [x, y, x + side // 9, y + side // 16]
            canvas.draw.arc(box, 180, 360, fill=WAVE, width=max(1, side // 90))


def snow(canvas: Canvas) -> None:
    side = canvas.side
    canvas.band(0, side, jitter((170, 180, 195), canvas.rng, 8))
    canvas.band(canvas.horizon, side, SNOW)
    for _ in range(45):
        flake = canvas.rng.uniform(0.008, 0.016) * side
        canvas.dot(*canvas.random_point(), flake, flake, (250, 250, 255))


def beach(canvas: Canvas) -> None:
    side = canvas.side
    canvas.band(int(canvas.horizon - side * 0.14), canvas.horizon, jitter((60, 140, 205), canvas.rng, 10))
    canvas.band(canvas.horizon, side, jitter((235, 212, 150), canvas.rng, 10))
    canvas.dot(canvas.rng.choice((0.12, 0.88)) * side, 0.12 * side, 0.07 * side, 0.07 * side, SUN)


def table(canvas: Canvas) -> None:
    side, top = canvas.side, canvas.horizon
    canvas.band(0, side, jitter((228, 216, 200), canvas.rng, 10))
    canvas.band(int(side * 0.93), side, FLOOR)
    wood = jitter((150, 95, 50), canvas.rng, 8)
    canvas.draw.rectangle([side * 0.06, top, side * 0.94, top + side * 0.08], fill=wood)
    for x in (0.13, 0.82):
        leg = [side * x, top + side * 0.08, side * (x + 0.05), side * 0.96]
        canvas.draw.rectangle(leg, fill=darken(wood, 0.8))


def sky(canvas: Canvas) -> None:
    side, rng = canvas.side, canvas.rng
    for _ in range(3):
        x, y = rng.uniform(0.1, 0.9) * side, rng.uniform(0.08, 0.9) * side
        for puff in (-1, 0, 1):
            size = side * rng.uniform(0.05, 0.08)
            canvas.dot(x + puff * size, y, size, size * 0.7, CLOUD)


PLACE_PAINTERS: Mapping[str, Callable[[Canvas], None]] = MappingProxyType(
    {paint.__name__: paint for paint in (table, grass, road, water, snow, beach, sky)}
)
