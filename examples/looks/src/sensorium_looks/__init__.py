"""Vectors by which pictures that look alike are near: convolutions with random weights, on PyTorch.

Features of random filters tell textures and colours apart without any training (https://arxiv.org/abs/1606.04801); the
weights follow from a seed, so that nothing has to be downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from hooks import Context, Device, Embedding, Failure, Image, ModelSpec, Result, Variant, hookimpl

if TYPE_CHECKING:
    import torch

api = ">=1,<2"
SEED = 4711


class Settings(BaseModel):
    """What may be set in [plugins.looks]."""

    model_config = ConfigDict(extra="forbid")

    side: int = Field(128, ge=32, le=1024, description="Pixels that a picture is made small to, in width and height.")
    batch: int = Field(32, ge=1, le=512, description="Pictures that are looked at together, at most.")


@hookimpl
def settings_class() -> type[BaseModel]:
    return Settings


@hookimpl
def model_spec(settings: Settings) -> ModelSpec:
    smaller = Variant(name="one at a time", memory_mb=560, batch=1)
    on_cpu = Variant(name="on the CPU", memory_mb=560, batch=4, device="cpu")
    memory = 600 + settings.batch * settings.side**2 // 4000
    return ModelSpec(
        name=f"looks-{SEED}", memory_mb=memory, batch=settings.batch, keep_alive=120, variants=(smaller, on_cpu),
        imports=("torch", "PIL.Image"),
    )  # fmt: skip


@hookimpl
def load(device: Device) -> torch.nn.Module:
    import torch

    torch.set_num_threads(device.threads)
    torch.manual_seed(SEED)  # on the CPU: a GPU's generator would give other weights
    layers = [
        torch.nn.Conv2d(3, 32, 7, stride=2),
        torch.nn.ReLU(),
        torch.nn.Conv2d(32, 64, 5, stride=2),
        torch.nn.ReLU(),
    ]
    return torch.nn.Sequential(*layers).eval().to(device.torch)


@hookimpl
def on_image(
    events: list[Image], model: torch.nn.Module, settings: Settings, context: Context
) -> Iterator[Result | Failure]:
    import torch
    from PIL import Image as Pictures

    opened = {}
    for event in events:
        try:
            opened[event.id] = pixels(event, settings.side)
        except (OSError, ValueError, SyntaxError, Pictures.DecompressionBombError) as error:
            yield event.failure(f"It cannot be opened: {error}.")
    if not opened:
        return
    with torch.inference_mode():
        maps = model(torch.stack(list(opened.values())).to(context.device.torch))
        features = torch.cat([maps.mean((2, 3)), maps.std((2, 3))], dim=1)
        vectors = dict(zip(opened, torch.nn.functional.normalize(features).cpu().numpy(), strict=True))
    for event in events:
        if event.id in vectors:
            yield event.result(Embedding(space=f"looks-{SEED}-{settings.side}", vector=vectors[event.id]))


def pixels(event: Image, side: int) -> torch.Tensor:
    """A picture as numbers from -1 to 1, of shape (3, side, side)."""
    import torch
    from PIL import Image as Pictures

    with Pictures.open(event.path) as picture:
        small = picture.convert("RGB").resize((side, side))
    return (
        torch.frombuffer(bytearray(small.tobytes()), dtype=torch.uint8).view(side, side, 3).permute(2, 0, 1) / 127.5 - 1
    )
