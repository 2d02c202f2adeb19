"""Training pictures: drawn at several sizes, sometimes blurred or JPEG-compressed, reduced as open_clip does."""

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch.nn import functional

from tools.drawn_world import Scene, draw, random_scene
from tools.train_clip.model import IMAGE_SIZE

DRAWN_SIZES = (IMAGE_SIZE, IMAGE_SIZE, 96, 160)
LARGEST_SHIFT = 4
SHAPES_SHARE = 0.6  # they are small and alike, so they need more examples than icons


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """`pictures` is (n, 3, 64, 64) uint8, `scenes` says what is in each; no held-out pair is among them."""

    pictures: torch.Tensor
    scenes: list[Scene]


def draw_training_set(count: int, seed: int) -> TrainingSet:
    """Draw `count` pictures; about a millisecond and 12 kB each."""
    rng = random.Random(f"clip training {seed}")
    scenes = [random_scene(rng, "trained", SHAPES_SHARE) for _ in range(count)]
    pixels = np.empty((count, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    for index, scene in enumerate(scenes):
        pixels[index] = np.asarray(_photograph(scene, rng))
    return TrainingSet(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous(), scenes)


def _photograph(scene: Scene, rng: random.Random) -> Image.Image:
    picture = draw(scene, rng, rng.choice(DRAWN_SIZES))
    if rng.random() < 0.25:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 0.5) * picture.width / IMAGE_SIZE))
    if rng.random() < 0.2:
        picture = _through_jpeg(picture, rng.randint(50, 95))
    return picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)


def _through_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def shuffled_batches(count: int, size: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Endless batches of `size` indices below `count`; each index comes once before any comes again."""
    waiting: list[int] = []
    while True:
        while len(waiting) < size:
            waiting += torch.randperm(count, generator=generator).tolist()
        yield waiting[:size]
        waiting = waiting[size:]


def augment(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """uint8 (batch, 3, 64, 64) to floats in about 0..1: contrast, brightness, noise of each, one shift of the batch."""

    def each() -> torch.Tensor:
        return torch.rand(len(pictures), 1, 1, 1, generator=generator)

    values = pictures.float() / 255
    values = values * (0.9 + 0.2 * each()) + 0.1 * (each() - 0.5)
    values = values + torch.randn(values.shape, generator=generator) * (0.04 * each())
    dx, dy = torch.randint(0, 2 * LARGEST_SHIFT + 1, (2,), generator=generator).tolist()
    padded = functional.pad(values, (LARGEST_SHIFT,) * 4, mode="replicate")
    return padded[:, :, dy : dy + IMAGE_SIZE, dx : dx + IMAGE_SIZE]
