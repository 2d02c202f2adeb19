"""Three models of several hundred MB with random weights, as plugins: what the lease benchmarks load and unload.

A model is a stack of square layers in shards of safetensors, as large models come. It says what it makes of a text.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hooks import Caption, Device, ModelSpec, Result, Text, hookimpl

LIBRARIES = {"cpu": ("numpy", "safetensors.numpy"), "gpu": ("torch", "safetensors.torch")}
NAMES = ("ash", "birch", "cedar")


class Settings(BaseModel):
    """Where the shards are, and what the model is said to take."""

    shards: tuple[Path, ...]
    memory_mb: int = 1000
    device: str = "cpu"
    keep_alive: float = 5.0


class Stack:
    """One of the models."""

    @hookimpl
    def settings_class(self) -> type[BaseModel]:
        return Settings

    @hookimpl
    def model_spec(self, settings: Settings) -> ModelSpec:
        return ModelSpec(
            name="stack", memory_mb=settings.memory_mb, device=settings.device, batch=4,
            imports=LIBRARIES[settings.device], keep_alive=settings.keep_alive, files=settings.shards,
        )  # fmt: skip

    @hookimpl
    def load(self, settings: Settings, device: Device) -> Any:
        return build(settings.shards, device.torch)

    @hookimpl
    def on_text(self, events: list[Text], model: Any, settings: Settings) -> Iterator[Result]:
        for event in events:
            yield event.result(Caption(text=f"{say(model, event.open().read()):.6f}"))


ash, birch, cedar = Stack(), Stack(), Stack()


def write_shards(folder: Path, memory_mb: int, width: int, seed: int, shards: int = 6) -> list[Path]:
    """Random weights of about so many MB, in so many files; the files are on the disk afterwards."""
    import numpy
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    chance = numpy.random.default_rng(seed)
    layers = max(shards, round(memory_mb * 2**20 / (4 * width * width)))
    paths = []
    for shard in range(shards):
        paths.append(folder / f"{shard}.safetensors")
        mine = range(shard, layers, shards)
        save_file({f"{n}": chance.random((width, width), numpy.float32) / width for n in mine}, paths[-1])
        with paths[-1].open("rb") as file:
            os.fsync(file.fileno())
    return paths


def build(shards: Sequence[Path], device: str) -> list[Any]:
    """The layers in the device's memory, in order. One shard at a time, so that no more than that is there twice."""
    layers: dict[int, Any] = {}
    for shard in shards:
        layers.update(_read(shard, device))
    return [layers[index] for index in sorted(layers)]


def _read(shard: Path, device: str) -> dict[int, Any]:
    if device == "cpu":
        from safetensors.numpy import load_file

        return {int(name): layer for name, layer in load_file(shard).items()}
    import torch
    from safetensors.torch import load_file as load_tensors

    found = {int(name): layer.to(device) for name, layer in load_tensors(shard).items()}
    torch.cuda.synchronize()
    return found


def say(layers: list[Any], content: bytes) -> float:
    """A number that every layer has a part in, the same for the same content."""
    import numpy

    state: Any = numpy.frombuffer(hashlib.sha256(content).digest(), numpy.uint8) / numpy.float32(255)
    if not isinstance(layers[0], numpy.ndarray):
        import torch

        state = torch.from_numpy(state).to(layers[0].device)
    for layer in layers:
        state = state @ layer[: len(state), : len(state)]
        state = state / state.max()
    return float(state.sum())


def forget(paths: Sequence[Path]) -> None:
    """Have the system forget the contents of files, so that they come from the disk the next time."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
