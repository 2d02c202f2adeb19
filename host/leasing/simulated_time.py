"""An event loop whose clock jumps to the next thing that is due: hours of waiting pass in no time."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting, it moves the clock on; there is nothing outside to wait for."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Never blocks; None means that everything waits for something that cannot come."""
        if timeout is None:
            raise RuntimeError("Everything waits and nothing is due: a deadlock.")
        self.now += max(0.0, timeout)
        return []


class SimulatedLoop(asyncio.SelectorEventLoop):
    """A loop in simulated time, which starts at 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Simulated seconds."""
        return self._jumping.now


def simulate(work: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
    """Run a coroutine in simulated time, to its end."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(work())
