"""The eight shapes, each drawn with a `Pen` in one colour."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from tools.drawn_world.palette import RGB
from tools.drawn_world.pen import Pen, Point

ShapePainter = Callable[[Pen, RGB, RGB], None]
"""Draws a shape; the second colour is the paper's, seen through a hole."""


def circle(pen: Pen, colour: RGB, paper: RGB) -> None:
    pen.ellipse(-1, -1, 1, 1, colour)


def ring(pen: Pen, colour: RGB, paper: RGB) -> None:
    pen.ellipse(-1, -1, 1, 1, colour)
    pen.ellipse(-0.55, -0.55, 0.55, 0.55, paper)


def square(pen: Pen, colour: RGB, paper: RGB) -> None:
    pen.polygon(_rectangle(0.88, 0.88), colour)


def diamond(pen: Pen, colour: RGB, paper: RGB) -> None:
    pen.polygon([(0, -1.15), (0.8, 0), (0, 1.15), (-0.8, 0)], colour)


def triangle(pen: Pen, colour: RGB, paper: RGB) -> None:
    pen.polygon([(0, -1), (1, 0.8), (-1, 0.8)], colour)


def cross(pen: Pen, colour: RGB, paper: RGB) -> None:
    pen.polygon(_rectangle(0.34, 1), colour)
    pen.polygon(_rectangle(1, 0.34), colour)


def star(pen: Pen, colour: RGB, paper: RGB, tips: int = 5, outer: float = 1.12, inner: float = 0.47) -> None:
    turns = [(index * math.pi / tips - math.pi / 2, inner if index % 2 else outer) for index in range(2 * tips)]
    pen.polygon([(radius * math.cos(turn), radius * math.sin(turn)) for turn, radius in turns], colour)


def heart(pen: Pen, colour: RGB, paper: RGB) -> None:
    pen.polygon([_heart_point(step / 40 * 2 * math.pi) for step in range(40)], colour)


def _rectangle(half_width: float, half_height: float) -> list[Point]:
    return [(x * half_width, y * half_height) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))]


def _heart_point(turn: float) -> Point:
    """The heart curve of https://mathworld.wolfram.com/HeartCurve.html, scaled to half size 1."""
    y = 13 * math.cos(turn) - 5 * math.cos(2 * turn) - 2 * math.cos(3 * turn) - math.cos(4 * turn)
    return math.sin(turn) ** 3, -(y + 2) / 16


SHAPE_PAINTERS: Mapping[str, ShapePainter] = MappingProxyType(
    {paint.__name__: paint for paint in (circle, square, triangle, star, cross, heart, ring, diamond)}
)
