"""What can be in a picture: the classes, one `Scene`, and ways to choose scenes at random."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

SHAPES = ("circle", "square", "triangle", "star", "cross", "heart", "ring", "diamond")
ICONS = ("cat", "dog", "bird", "fish", "car", "boat", "house", "tree", "cup", "runner", "flower", "bicycle")
SUBJECTS = SHAPES + ICONS
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "pink", "brown", "black", "white", "gray")
BACKGROUNDS = ("white", "black", "gray", "light blue", "light green", "beige")
PLACES = ("table", "grass", "road", "water", "snow", "beach", "sky")
SETTINGS = BACKGROUNDS + PLACES
POSITIONS = ("left", "right", "top", "bottom", "center")
MAX_SHAPES, MAX_ICONS = 4, 3

HELD_OUT_PAIRS = frozenset(
    {("purple", "car"), ("orange", "star"), ("pink", "dog"), ("green", "heart"), ("blue", "cat"), ("yellow", "house")}
)
"""Colour and subject that no model is trained on together, so that a test can ask for something truly new."""

INVISIBLE: Mapping[str, str] = MappingProxyType(
    {"snow": "white", "grass": "green", "road": "gray", "water": "blue", "table": "brown"}
)
"""The colour that cannot be told apart from a place."""

Pairs = Literal["any", "trained", "held-out"]


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture in words: `count` subjects of one colour, shapes on a plain background or icons in a place.

    Only a single shape has a `position`. A scene that cannot be drawn or seen raises ValueError.
    """

    subject: str
    colour: str
    setting: str
    count: int = 1
    position: str | None = None

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise ValueError(f"no such scene: {problem}: {self!r}")

    @property
    def is_shape(self) -> bool:
        return self.subject in SHAPES

    def _problem(self) -> str | None:
        if self.subject not in SUBJECTS:
            return f"the subject must be one of {', '.join(SUBJECTS)}"
        if self.colour not in COLOURS:
            return f"the colour must be one of {', '.join(COLOURS)}"
        if self.setting not in (BACKGROUNDS if self.is_shape else PLACES):
            return f"shapes need a background ({', '.join(BACKGROUNDS)}), icons a place ({', '.join(PLACES)})"
        if not 1 <= self.count <= (MAX_SHAPES if self.is_shape else MAX_ICONS):
            return f"at most {MAX_SHAPES} shapes or {MAX_ICONS} icons"
        if self.position not in (POSITIONS if self.is_shape and self.count == 1 else (None,)):
            return "a single shape needs a position, nothing else has one"
        if not is_visible(self.colour, self.setting):
            return "the colour would not be seen there"
        return None


def is_visible(colour: str, setting: str) -> bool:
    return colour != setting and INVISIBLE.get(setting) != colour


def all_scenes() -> list[Scene]:
    """Every scene of this world once, in a fixed order."""
    seen = [(colour, setting) for colour in COLOURS for setting in SETTINGS if is_visible(colour, setting)]
    plain = [pair for pair in seen if pair[1] in BACKGROUNDS]
    placed = [pair for pair in seen if pair[1] in PLACES]
    singles = [Scene(s, c, b, 1, p) for s in SHAPES for c, b in plain for p in POSITIONS]
    groups = [Scene(s, c, b, n) for s in SHAPES for c, b in plain for n in range(2, MAX_SHAPES + 1)]
    icons = [Scene(s, c, p, n) for s in ICONS for c, p in placed for n in range(1, MAX_ICONS + 1)]
    return singles + groups + icons


def random_scene(rng: random.Random, pairs: Pairs = "any", shapes: float = 0.45) -> Scene:
    """A shape scene in the share `shapes`, else an icon scene; `pairs` chooses by `HELD_OUT_PAIRS`."""
    while True:
        scene = random_shape(rng) if rng.random() < shapes else random_icon(rng)
        held_out = (scene.colour, scene.subject) in HELD_OUT_PAIRS
        if pairs == "any" or held_out == (pairs == "held-out"):
            return scene


def random_shape(rng: random.Random) -> Scene:
    """One to four shapes on a plain background."""
    colour, setting = _visible_pair(rng, BACKGROUNDS)
    count = rng.choices((1, 2, 3, 4), (4, 2, 2, 2))[0]
    position = rng.choice(POSITIONS) if count == 1 else None
    return Scene(rng.choice(SHAPES), colour, setting, count, position)


def random_icon(rng: random.Random) -> Scene:
    """One to three icons in a place."""
    colour, setting = _visible_pair(rng, PLACES)
    return Scene(rng.choice(ICONS), colour, setting, rng.choices((1, 2, 3), (6, 2, 1))[0])


def _visible_pair(rng: random.Random, settings: tuple[str, ...]) -> tuple[str, str]:
    while True:
        colour, setting = rng.choice(COLOURS), rng.choice(settings)
        if is_visible(colour, setting):
            return colour, setting
