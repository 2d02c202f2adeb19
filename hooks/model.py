"""What a plugin says about its model, and what the host says about the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator

from hooks.events import Event

DeviceKind = Literal["auto", "cpu", "gpu", "none"]


class Variant(BaseModel):
    """A smaller way to run a model, for when memory runs out: a smaller context, quantization or batch, the CPU.

    `settings` are changes of the plugin's settings; `load` and the hooks get the settings with them. `device`: "cpu"
    for what is meant for the CPU alone. What is None stays as the model has it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    memory_mb: int = Field(ge=0)
    settings: dict[str, JsonValue] = Field(default_factory=dict)
    batch: int | None = Field(default=None, ge=1)
    device: Literal["cpu"] | None = None
    files: tuple[Path, ...] | None = None


class ModelSpec(BaseModel):
    """What the host must know to run a model: stated by the plugin, cheap to make, checked before anything is loaded.

    `memory_mb`: peak of the whole worker process on its device, a first guess (the host learns the real one).
    `device`: "none" is for plugins without a model: they take no lease on a CPU or GPU.
    `batch`: events a call at most. `keep_alive`: seconds idle before the model leaves; 0 at once. `pin`: never leaves.
    `exclusive`: nothing else is on its device. `preload`: it is loaded at the start, and again when there is room.
    `weight`: how much dearer than others it is to lose when room is needed. `variants`: what is tried, in this order,
    when memory runs out; the first that fits is used from the start where the model itself never does. `variant`: set
    by the host in what `load` gets, None for the model itself.
    `time_limit`, `load_time_limit`: seconds for one batch, and for loading, before the worker is killed; the batch's
    begin anew with each step forward that `Context.progress` tells of.
    `files`: the model's files, for provenance. `imports`: modules that a warm spare imports before there is work.
    `python`: another interpreter for the worker, when dependencies clash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    memory_mb: int = Field(default=200, ge=0)
    device: DeviceKind = "auto"
    batch: int = Field(default=1, ge=1)
    keep_alive: float = Field(default=300.0, ge=0)
    pin: bool = False
    exclusive: bool = False
    preload: bool = False
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    variants: tuple[Variant, ...] = ()
    variant: Variant | None = None
    time_limit: float = Field(default=300.0, gt=0)
    load_time_limit: float = Field(default=600.0, gt=0)
    files: tuple[Path, ...] = ()
    imports: tuple[str, ...] = ()
    python: Path | None = None

    @field_validator("variants")
    @classmethod
    def _have_names_of_their_own(cls, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
        if len({variant.name for variant in variants}) < len(variants):
            raise ValueError("two variants have the same name")
        return variants

    def as_variant(self, variant: Variant) -> ModelSpec:
        """The spec of one of its variants."""
        changes = {"batch": variant.batch, "device": variant.device, "files": variant.files}
        stated = {name: value for name, value in changes.items() if value is not None}
        return self.model_copy(update={"memory_mb": variant.memory_mb, "variant": variant, **stated})


class Device(BaseModel):
    """Where a model computes: `torch` is the name that PyTorch-like libraries take; `threads` are for CPU work.

    A worker sees its own GPU alone, so that there `index` is 0. `uuid` is the driver's name for a GPU.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Literal["cpu", "gpu", "none"]
    memory_mb: int
    index: int = 0
    threads: int = 1
    uuid: str = ""

    @property
    def torch(self) -> str:
        """`cuda:0` and so on, or `cpu`."""
        return f"cuda:{self.index}" if self.kind == "gpu" else "cpu"


@dataclass(frozen=True)
class Context:
    """What a running hook may ask of the host."""

    device: Device
    scratch: Path
    report: Callable[[str, float, str], None]

    def progress(self, event: Event, fraction: float, text: str = "") -> None:
        """Say how far the work on an event is, from 0 to 1."""
        self.report(event.id, fraction, text)
