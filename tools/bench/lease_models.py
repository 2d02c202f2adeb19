"""Three models of several hundred MB with random weights, as plugins: what the lease benchmarks load and unload.

A model is a stack of square layers in shards of safetensors, as large models come. It says what it makes of a text.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from hooks import Caption, Device, ModelSpec, Result, Text, hookimpl

if TYPE_CHECKING:
    import torch

LIBRARIES = ("torch", "safetensors.torch")
NAMES = ("ash", "birch", "cedar")


class Settings(BaseModel):
    """Where the shards are, and what the model is said to take."""

    shards: tuple[Path, ...]
    memory_mb: int = 1000
    device: str = "cpu"
    keep_alive: float = 5.0
    rounds: int = 1


class Stack:
    """One of the models."""

    @hookimpl
    def settings_class(self) -> type[BaseModel]:
        return Settings

    @hookimpl
    def model_spec(self, settings: Settings) -> ModelSpec:
        return ModelSpec(
            name="stack", memory_mb=settings.memory_mb, device=settings.device, batch=4, imports=LIBRARIES,
            keep_alive=settings.keep_alive, files=settings.shards,
        )  # fmt: skip

    @hookimpl
    def load(self, settings: Settings, device: Device) -> Any:
        import torch

        torch.set_num_threads(device.threads)
        return build(settings.shards, device.torch)

    @hookimpl
    def on_text(self, events: list[Text], model: Any, settings: Settings) -> Iterator[Result]:
        for event in events:
            yield event.result(Caption(text=f"{say(model, event.open().read(), settings.rounds):.6f}"))


ash, birch, cedar = Stack(), Stack(), Stack()


def write_shards(folder: Path, memory_mb: int, width: int, seed: int, shards: int = 6) -> list[Path]:
    """Random weights of about so many MB, in so many files; the files are on the disk afterwards."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    layers = max(shards, round(memory_mb * 2**20 / (4 * width * width)))
    paths = []
    for shard in range(shards):
        mine = range(shard, layers, shards)
        paths.append(folder / f"{shard}.safetensors")
        save_file({f"{layer}": torch.randn(width, width) / width**0.5 for layer in mine}, paths[-1])
        with paths[-1].open("rb") as file:
            os.fsync(file.fileno())
    return paths


def build(shards: Sequence[Path], device: str) -> list[torch.Tensor]:
    """The layers in the device's memory, in order. One shard at a time, so that no more than that is there twice."""
    import torch
    from safetensors.torch import load_file

    layers: dict[int, torch.Tensor] = {}
    with torch.inference_mode():
        for shard in shards:
            for name, tensor in load_file(shard).items():
                layers[int(name)] = torch.empty_like(tensor, device=device).copy_(tensor)
    if device != "cpu":
        torch.cuda.synchronize()
    return [layers[index] for index in sorted(layers)]


def say(layers: list[torch.Tensor], content: bytes, rounds: int) -> float:
    """A number that every layer has a part in, the same for the same content."""
    import torch

    generator = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(content).digest()[:4], "big"))
    with torch.inference_mode():
        state = torch.randn(1, layers[0].shape[0], generator=generator).to(layers[0].device)
        for _ in range(rounds):
            for layer in layers:
                state = torch.tanh(state @ layer)
        return float(state.float().mean())


def forget(paths: Sequence[Path]) -> None:
    """Have the system forget the contents of files, so that they come from the disk the next time."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
