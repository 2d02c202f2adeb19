"""How a connection stands: connecting → connected ⇄ away, each since when, and why it is away."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

LinkState = Literal["connecting", "connected", "away"]


class Link:
    """What `stay_connected` tells of one connection; `since` is in seconds since 1970, `problem` why it is away."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.state: LinkState = "connecting"
        self.since = clock()
        self.problem = ""

    def tell(self, problem: str) -> None:
        """There is a connection, or there is none for this reason; the time is that of the first reason."""
        state: LinkState = "away" if problem else "connected"
        if state != self.state:
            self.state, self.since = state, self._clock()
        self.problem = problem
