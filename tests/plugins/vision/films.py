"""Films for tests, and a worker that takes them apart."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hooks import Video
from tests.worker_client import WorkerClient
from tools.drawn_world import Scene, draw
from tools.films import RATE, Shot

SCENES = (
    Scene("circle", "red", "white", position="left"),
    Scene("star", "yellow", "gray", position="center"),
    Scene("cat", "black", "table"),
    Scene("square", "blue", "beige", position="right"),
    Scene("boat", "red", "water"),
    Scene("heart", "pink", "black", count=2),
)


@cache
def drawn(scene: Scene) -> Image.Image:
    return draw(scene, random.Random(str(scene)), 240)


def shots(*seconds: float) -> list[Shot]:
    """The scenes in turn, each for so many seconds."""
    return [Shot(drawn(scene), length) for scene, length in zip(SCENES, seconds, strict=False)]


def tone(seconds: float = 1.0) -> np.ndarray:
    return (9000 * np.sin(np.arange(round(seconds * RATE)) * 2 * np.pi * 440 / RATE)).astype(np.int16)


def video_event(path: Path) -> Video:
    return Video(
        id=path.name.replace(".", "-"), media_type="video/mp4", sha256="0" * 64, size=path.stat().st_size, path=path,
        name=path.name, source="test", origin=path.name, created=datetime(2026, 11, 20, tzinfo=UTC),
    )  # fmt: skip


@contextmanager
def a_worker(scratch: Path, **settings: Any) -> Iterator[WorkerClient]:
    with WorkerClient.started() as client:
        loaded = client.load("plugins.vision.video", settings, scratch=scratch)
        assert loaded.op == "loaded", loaded.body
        yield client


class Apart:
    """What came out of a film."""

    def __init__(self, answers: Sequence[Any]) -> None:
        assert answers[-1].op == "done", answers[-1].body
        self.reasons = [one.body["reason"] for one in answers if one.op == "failure"]
        self.made = [one.body for one in answers if one.op == "derived"]
        self.info = next((one.body["data"] for one in answers if one.op == "result"), {})
        self.progress = [one.body for one in answers if one.op == "progress"]

    def of(self, role: str) -> list[dict[str, Any]]:
        return [one for one in self.made if one["role"] == role]

    @property
    def moments(self) -> list[float]:
        return [one["moment"] for one in self.of("frame")]


def taken_apart(client: WorkerClient, path: Path) -> Apart:
    return Apart(client.run([video_event(path)], "on_video"))
