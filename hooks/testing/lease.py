"""A lease for tests: one device whose memory a test sets, and the host's ladder when that is not enough."""

from __future__ import annotations

from typing import Literal

from hooks.errors import OutOfMemory
from hooks.model import Device, ModelSpec


class FakeLease:
    """A device with a memory budget in MB that may be changed at any time; nothing is reserved, and no GPU is needed.

    The budget is real: a worker whose process was ever larger is out of memory, as one that says so itself is. Then
    comes the host's ladder: half the batch, down to one event; the plugin's `variants` in their order; OutOfMemory.
    `steps` tells which of it were gone, `peak_mb` the most that was seen.
    """

    def __init__(self, memory_mb: float = 4000, *, kind: Literal["cpu", "gpu"] = "cpu", threads: int = 1) -> None:
        self.memory_mb = memory_mb
        self.kind: Literal["cpu", "gpu"] = kind
        self.threads = threads
        self.peak_mb = 0.0
        self.steps: list[str] = []

    @property
    def device(self) -> Device:
        """What `load` and the hooks are told; a `gpu` is said to be the first one."""
        return Device(name=self.kind, kind=self.kind, memory_mb=max(0, int(self.memory_mb)), threads=self.threads)

    def grant(self, spec: ModelSpec) -> ModelSpec:
        """What runs here: the model, or its first variant that is said to fit. Raises OutOfMemory when none does."""
        if spec.memory_mb <= self.memory_mb:
            return spec
        return self._variant(spec, after=None)

    def charge(self, peak_mb: float) -> None:
        """Take note of a worker's peak. Raises OutOfMemory when it is over the budget."""
        self.peak_mb = max(self.peak_mb, peak_mb)
        if peak_mb > self.memory_mb:
            raise OutOfMemory(f"The worker took {peak_mb:.0f} MB, and the lease has {self.memory_mb:.0f} MB.")

    def step_down(self, spec: ModelSpec, granted: ModelSpec) -> ModelSpec:
        """The next step after memory ran out. Raises OutOfMemory when there is none."""
        if granted.batch > 1:
            self.steps.append(f"batch {granted.batch // 2}")
            return granted.model_copy(update={"batch": granted.batch // 2})
        return self._variant(spec, after=granted.variant.name if granted.variant else None)

    def _variant(self, spec: ModelSpec, after: str | None) -> ModelSpec:
        names = [variant.name for variant in spec.variants]
        for variant in spec.variants[names.index(after) + 1 if after else 0 :]:
            if variant.memory_mb <= self.memory_mb:
                self.steps.append(f"variant {variant.name}")
                return spec.as_variant(variant)
        tried = f" and its variants {', '.join(names)}" if names else ""
        raise OutOfMemory(
            f"{spec.name}{tried} did not fit {self.memory_mb:.0f} MB.",
            "Declare a smaller variant in model_spec, or what the model really needs.",
        )
