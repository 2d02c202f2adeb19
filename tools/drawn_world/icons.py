"""The twelve icons, each drawn with a `Pen`; they stand on y = 1 of their figure."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tools.drawn_world.palette import RGB, darken
from tools.drawn_world.pen import Pen

BEAK, LEGS, LEAF, PETAL_YELLOW = (240, 160, 20), (220, 140, 20), (50, 140, 50), (245, 200, 40)
GLASS, WOOD, BARK, TYRE, HUB = (190, 225, 245), (90, 60, 30), (105, 65, 30), (25, 25, 25), (180, 180, 180)
SKIN, TROUSERS, NEARLY_BLACK = (235, 190, 150), (40, 40, 60), (20, 20, 20)


@dataclass(frozen=True, slots=True)
class Coat:
    """The icon's own colour, and the two that set its details off against it."""

    main: RGB
    accent: RGB
    eye: RGB

    @classmethod
    def of(cls, colour: RGB) -> "Coat":
        accent = darken(colour) if sum(colour) > 150 else (90, 90, 90)
        return cls(colour, accent, (250, 250, 80) if sum(colour) < 200 else NEARLY_BLACK)


IconPainter = Callable[[Pen, Coat], None]


def cat(pen: Pen, coat: Coat) -> None:
    pen.ellipse(-0.75, 0, 0.45, 1, coat.main)
    pen.ellipse(0.05, -0.75, 0.95, 0.15, coat.main)
    pen.polygon([(0.1, -0.45), (0.15, -1.05), (0.45, -0.7)], coat.main)
    pen.polygon([(0.9, -0.45), (0.85, -1.05), (0.55, -0.7)], coat.main)
    pen.line([(-0.65, 0.6), (-1.0, 0.2), (-0.85, -0.45)], coat.main, 0.16)
    pen.ellipse(0.25, -0.4, 0.4, -0.25, coat.eye)
    pen.ellipse(0.6, -0.4, 0.75, -0.25, coat.eye)


def dog(pen: Pen, coat: Coat) -> None:
    pen.rectangle(-0.8, -0.1, 0.5, 0.5, coat.main)
    for x in (-0.75, -0.5, 0.15, 0.4):
        pen.rectangle(x, 0.4, x + 0.16, 1, coat.main)
    pen.ellipse(0.25, -0.75, 0.85, 0, coat.main)
    pen.rectangle(0.6, -0.45, 1.1, -0.12, coat.main)
    pen.ellipse(0.2, -0.75, 0.45, 0.05, coat.accent)
    pen.line([(-0.75, 0), (-1.05, -0.35)], coat.main, 0.14)
    pen.ellipse(0.62, -0.6, 0.72, -0.48, coat.eye)
    pen.ellipse(1.0, -0.47, 1.14, -0.33, NEARLY_BLACK)


def bird(pen: Pen, coat: Coat) -> None:
    pen.ellipse(-0.6, -0.4, 0.5, 0.5, coat.main)
    pen.ellipse(0.2, -0.75, 0.8, -0.15, coat.main)
    pen.polygon([(0.75, -0.55), (1.1, -0.42), (0.75, -0.3)], BEAK)
    pen.polygon([(-0.5, -0.05), (-1.05, -0.35), (-1.0, 0.2)], coat.main)
    pen.polygon([(-0.3, -0.1), (0.25, -0.1), (-0.25, 0.42)], coat.accent)
    for x in (-0.1, 0.15):
        pen.line([(x, 0.45), (x, 0.95)], LEGS, 0.08)
    pen.ellipse(0.5, -0.55, 0.6, -0.45, coat.eye)


def fish(pen: Pen, coat: Coat) -> None:
    pen.ellipse(-0.65, -0.5, 0.9, 0.5, coat.main)
    pen.polygon([(-0.5, 0), (-1.1, -0.55), (-1.1, 0.55)], coat.main)
    pen.polygon([(-0.1, -0.42), (0.3, -0.8), (0.4, -0.4)], coat.accent)
    pen.ellipse(0.5, -0.2, 0.66, -0.04, (250, 250, 250) if sum(coat.main) < 600 else NEARLY_BLACK)


def car(pen: Pen, coat: Coat) -> None:
    pen.rectangle(-1.1, 0, 1.1, 0.6, coat.main)
    pen.polygon([(-0.7, 0), (-0.45, -0.5), (0.4, -0.5), (0.75, 0)], coat.main)
    pen.polygon([(-0.55, -0.02), (-0.38, -0.4), (-0.05, -0.4), (-0.05, -0.02)], GLASS)
    pen.polygon([(0.05, -0.02), (0.05, -0.4), (0.35, -0.4), (0.6, -0.02)], GLASS)
    for x in (-0.8, 0.35):
        pen.ellipse(x, 0.35, x + 0.5, 0.95, TYRE)
        pen.ellipse(x + 0.15, 0.52, x + 0.35, 0.78, HUB)


def boat(pen: Pen, coat: Coat) -> None:
    pen.polygon([(-1, 0.4), (1, 0.4), (0.65, 0.95), (-0.65, 0.95)], coat.main)
    pen.rectangle(-0.05, -0.95, 0.05, 0.4, WOOD)
    pen.polygon([(0.1, -0.95), (0.9, 0.25), (0.1, 0.25)], (240, 240, 240))
    pen.polygon([(-0.1, -0.7), (-0.7, 0.25), (-0.1, 0.25)], (220, 220, 220))


def house(pen: Pen, coat: Coat) -> None:
    pen.rectangle(-0.75, -0.1, 0.75, 1, coat.main)
    pen.polygon([(-1, -0.1), (0, -1), (1, -0.1)], coat.accent)
    pen.rectangle(-0.15, 0.4, 0.2, 1, WOOD)
    pen.rectangle(-0.55, 0.15, -0.25, 0.45, GLASS)
    pen.rectangle(0.35, 0.15, 0.6, 0.45, GLASS)


def tree(pen: Pen, coat: Coat) -> None:
    pen.rectangle(-0.14, 0.2, 0.14, 1, BARK)
    for x, y in ((-0.4, -0.15), (0.4, -0.15), (0, -0.5), (0, 0)):
        pen.ellipse(x - 0.48, y - 0.48, x + 0.48, y + 0.42, coat.main)


def cup(pen: Pen, coat: Coat) -> None:
    pen.hoop(0.3, -0.35, 0.95, 0.5, coat.main, 0.14)
    pen.polygon([(-0.6, -0.6), (0.5, -0.6), (0.38, 1), (-0.48, 1)], coat.main)
    pen.ellipse(-0.6, -0.75, 0.5, -0.45, coat.accent)


def runner(pen: Pen, coat: Coat) -> None:
    pen.ellipse(-0.05, -1.1, 0.4, -0.62, SKIN)
    pen.line([(0, 0.15), (0.5, 0.35), (0.3, 0.85), (0.5, 0.9)], TROUSERS, 0.2)
    pen.line([(-0.1, 0.15), (-0.3, 0.6), (-0.8, 0.7)], TROUSERS, 0.2)
    pen.polygon([(-0.22, -0.6), (0.32, -0.6), (0.15, 0.25), (-0.25, 0.25)], coat.main)
    pen.line([(0.2, -0.5), (0.55, -0.15), (0.85, -0.4)], coat.main, 0.15)
    pen.line([(-0.15, -0.5), (-0.55, -0.3), (-0.6, 0.05)], coat.main, 0.15)


def flower(pen: Pen, coat: Coat) -> None:
    pen.line([(0, 0), (0, 1)], LEAF, 0.12)
    pen.polygon([(0, 0.7), (0.5, 0.4), (0.35, 0.75)], LEAF)
    for petal in range(6):
        x, y = 0.42 * math.cos(petal * math.pi / 3), -0.4 + 0.42 * math.sin(petal * math.pi / 3)
        pen.ellipse(x - 0.27, y - 0.27, x + 0.27, y + 0.27, coat.main)
    red, green, blue = coat.main
    yellowish = blue <= 100 and red >= 200 and green >= 100
    pen.ellipse(-0.22, -0.62, 0.22, -0.18, (110, 60, 20) if yellowish else PETAL_YELLOW)


def bicycle(pen: Pen, coat: Coat) -> None:
    for x in (-0.6, 0.6):
        pen.hoop(x - 0.48, 0.04, x + 0.48, 1.0, TYRE, 0.13)
    pen.line([(-0.6, 0.52), (-0.15, -0.2), (0.4, -0.2), (0.05, 0.52), (-0.6, 0.52)], coat.main, 0.14)
    pen.line([(0.6, 0.52), (0.35, -0.45), (0.6, -0.5)], coat.main, 0.14)
    pen.line([(0.05, 0.52), (-0.2, -0.35)], coat.main, 0.14)
    pen.rectangle(-0.38, -0.42, -0.02, -0.32, TYRE)


ICON_PAINTERS: Mapping[str, IconPainter] = MappingProxyType(
    {paint.__name__: paint for paint in (cat, dog, bird, fish, car, boat, house, tree, cup, runner, flower, bicycle)}
)
