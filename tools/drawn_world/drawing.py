"""A scene becomes a picture: the setting is painted, spots are laid out, a figure is painted on each."""

import random

from PIL import Image, ImageDraw

from tools.drawn_world.icons import ICON_PAINTERS, Coat
from tools.drawn_world.palette import INKS, RGB, jitter
from tools.drawn_world.pen import Pen, Spot
from tools.drawn_world.places import Ground, paint_ground
from tools.drawn_world.scene import Scene
from tools.drawn_world.shapes import SHAPE_PAINTERS

SMOOTHING = 2
SMALLEST_CANVAS = 160
POSITION_CENTRES = {
    "left": (0.25, 0.5),
    "right": (0.75, 0.5),
    "top": (0.5, 0.25),
    "bottom": (0.5, 0.75),
    "center": (0.5, 0.5),
}
GRID = tuple((x, y) for x in (0.2, 0.5, 0.8) for y in (0.2, 0.5, 0.8))


def draw(scene: Scene, rng: random.Random, size: int) -> Image.Image:
    """An RGB picture of `size` x `size` pixels; the same scene, `rng` state and size give the same pixels."""
    canvas, _ = paint(scene, rng, max(SMALLEST_CANVAS, SMOOTHING * size))
    return canvas.resize((size, size), Image.Resampling.BICUBIC)


def paint(scene: Scene, rng: random.Random, side: int) -> tuple[Image.Image, list[Spot]]:
    """The picture at `side` pixels with hard edges, and where each figure stands: for things to be painted on top."""
    ground = paint_ground(scene.setting, side, rng)
    colour = jitter(INKS[scene.colour], rng)
    if scene.is_shape:
        return ground.image, _paint_shapes(scene, ground, colour, rng)
    return ground.image, _paint_icons(scene, ground, colour, rng)


def _paint_shapes(scene: Scene, ground: Ground, colour: RGB, rng: random.Random) -> list[Spot]:
    spots = _shape_spots(scene, ground.image.width, rng)
    canvas = ImageDraw.Draw(ground.image)
    for spot in spots:
        pen = Pen(canvas, spot, angle=rng.uniform(-0.2, 0.2))
        SHAPE_PAINTERS[scene.subject](pen, colour, ground.colour)
    return spots


def _shape_spots(scene: Scene, side: int, rng: random.Random) -> list[Spot]:
    if scene.position is None:
        return [_near(rng, x, y, rng.uniform(0.10, 0.135), side) for x, y in rng.sample(GRID, scene.count)]
    radius = rng.uniform(0.16, 0.33) if scene.position == "center" else rng.uniform(0.13, 0.24)
    return [_near(rng, *POSITION_CENTRES[scene.position], radius, side)]


def _near(rng: random.Random, x: float, y: float, radius: float, side: int) -> Spot:
    return Spot(side * (x + rng.uniform(-0.03, 0.03)), side * (y + rng.uniform(-0.03, 0.03)), side * radius)


def _paint_icons(scene: Scene, ground: Ground, colour: RGB, rng: random.Random) -> list[Spot]:
    spots = _icon_spots(scene, ground, rng)
    canvas, mirrored, coat = ImageDraw.Draw(ground.image), rng.random() < 0.5, Coat.of(colour)
    for spot in spots:
        ICON_PAINTERS[scene.subject](Pen(canvas, spot, mirrored), coat)
        if scene.setting == "water":
            _put_under_water(ground.image, canvas, spot)
    return spots


def _icon_spots(scene: Scene, ground: Ground, rng: random.Random) -> list[Spot]:
    side = ground.image.width
    low, high = {1: (0.2, 0.3), 2: (0.16, 0.2), 3: (0.125, 0.145)}[scene.count]
    radius = side * rng.uniform(low, high)
    columns = {1: (rng.uniform(0.36, 0.64),), 2: (0.28, 0.72), 3: (0.19, 0.5, 0.81)}[scene.count]
    spots = []
    for column in columns:
        foot = _foot(scene.setting, ground.horizon, side, radius, rng)
        spots.append(Spot(side * (column + rng.uniform(-0.03, 0.03)), foot - radius, radius))
    return spots


def _foot(setting: str, horizon: float, side: int, radius: float, rng: random.Random) -> float:
    """The y on which an icon stands, flies or floats."""
    if setting == "sky":
        return side * rng.uniform(0.5, 0.75) + radius * 0.3
    if setting == "water":
        return horizon + radius * 0.35
    return horizon if setting == "table" else horizon + side * 0.05


def _put_under_water(image: Image.Image, canvas: ImageDraw.ImageDraw, spot: Spot) -> None:
    water = image.getpixel((2, image.height - 2))
    foot = spot.y + spot.radius
    box = [spot.x - spot.radius * 1.2, foot - spot.radius * 0.15, spot.x + spot.radius * 1.2, foot + spot.radius * 0.1]
    canvas.rectangle(box, fill=water)
