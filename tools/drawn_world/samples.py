"""Sample pictures on disk, with what is in them: for the demonstration, tests and benchmarks."""

import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.drawn_world.captions import caption
from tools.drawn_world.drawing import draw
from tools.drawn_world.scene import Scene, all_scenes

SAMPLE_SIZE = 256


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture file and the truth about it."""

    path: Path
    caption: str
    scene: Scene


def write_samples(folder: Path, count: int, seed: int, size: int = SAMPLE_SIZE) -> list[Sample]:
    """Draw `count` PNG files into `folder` (made if missing), no scene twice before all 6,624 were used.

    The same seed and size give the same files; a larger count only adds to them.
    """
    scenes = all_scenes()
    random.Random(seed).shuffle(scenes)
    return write_scenes(folder, (scenes[index % len(scenes)] for index in range(count)), seed, size)


def write_scenes(folder: Path, scenes: Iterable[Scene], seed: int, size: int = SAMPLE_SIZE) -> list[Sample]:
    """Draw the given scenes into `folder`, one PNG of `size` pixels each: '0001-red-circle-left-white.png'."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder, number, scene, seed, size) for number, scene in enumerate(scenes, start=1)]


def _write(folder: Path, number: int, scene: Scene, seed: int, size: int) -> Sample:
    path = folder / f"{number:04d}-{_slug(scene)}.png"
    draw(scene, random.Random(f"{seed}:{number}"), size).save(path)
    return Sample(path, caption(scene), scene)


def _slug(scene: Scene) -> str:
    words = (str(scene.count) if scene.count > 1 else "", scene.colour, scene.subject, scene.position, scene.setting)
    return re.sub(r"\W+", "-", " ".join(word for word in words if word))
