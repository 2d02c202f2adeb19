"""The colours of the drawn world as RGB, and how they vary from picture to picture."""

import random
from collections.abc import Mapping
from types import MappingProxyType

RGB = tuple[int, int, int]

INKS: Mapping[str, RGB] = MappingProxyType(
    {
        "red": (214, 32, 36),
        "green": (40, 160, 60),
        "blue": (36, 76, 210),
        "yellow": (245, 215, 40),
        "orange": (245, 135, 25),
        "purple": (135, 50, 165),
        "pink": (250, 140, 190),
        "brown": (120, 72, 35),
        "black": (18, 18, 18),
        "white": (246, 246, 246),
        "gray": (135, 135, 135),
    }
)
PAPERS: Mapping[str, RGB] = MappingProxyType(
    {
        "white": (250, 250, 250),
        "black": (10, 10, 10),
        "gray": (128, 128, 128),
        "light blue": (170, 215, 245),
        "light green": (185, 232, 185),
        "beige": (236, 222, 190),
    }
)


def jitter(colour: RGB, rng: random.Random, amount: int = 14) -> RGB:
    red, green, blue = (max(0, min(255, value + rng.randint(-amount, amount))) for value in colour)
    return red, green, blue


def darken(colour: RGB, factor: float = 0.6) -> RGB:
    return int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor)
