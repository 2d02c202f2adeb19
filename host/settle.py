"""When a file is ready: it was quiet for a while and looks the same when it is looked at again. No I/O here."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class _Candidate:
    look: Hashable
    due: float
    order: int


class Settle(Generic[Key]):
    """Candidates and the moment at which each is to be looked at again.

        observe: unknown → waiting       (due in `quiet` seconds)
                 waiting, other look → waiting, due in `quiet` seconds from now
                 waiting, same look, due → ready (it leaves)
        forget:  waiting → unknown       (it went away)

    `look` is whatever must stay the same: size, mtime and inode of a file. `clock` is monotonic, in seconds.
    """

    def __init__(self, quiet: float, clock: Callable[[], float]) -> None:
        self._quiet = quiet
        self._clock = clock
        self._candidates: dict[Key, _Candidate] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = 0

    def __len__(self) -> int:
        return len(self._candidates)

    def __contains__(self, key: Key) -> bool:
        return key in self._candidates

    def observe(self, key: Key, look: Hashable) -> bool:
        """Take note of how a file looks now; True when it is ready and no longer waited for."""
        now = self._clock()
        candidate = self._candidates.get(key)
        if candidate is None or candidate.look != look:
            self._wait(key, look, now + self._quiet)
            return False
        if now < candidate.due:
            return False
        del self._candidates[key]
        return True

    def forget(self, key: Key) -> None:
        """The file went away; it starts anew when it comes back."""
        self._candidates.pop(key, None)

    def due(self) -> Iterator[Key]:
        """The candidates whose quiet time is over: look at each and `observe` or `forget` it."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            _, order, key = heapq.heappop(self._heap)
            if self._is_current(key, order):
                yield key

    def next_due(self) -> float | None:
        """The clock's time of the next look, None when nothing waits."""
        while self._heap:
            at, order, key = self._heap[0]
            if self._is_current(key, order):
                return at
            heapq.heappop(self._heap)
        return None

    def _is_current(self, key: Key, order: int) -> bool:
        """Whether an entry of the heap is the candidate's last: older ones stay until they come up."""
        candidate = self._candidates.get(key)
        return candidate is not None and candidate.order == order

    def _wait(self, key: Key, look: Hashable, due: float) -> None:
        self._order += 1
        self._candidates[key] = _Candidate(look, due, self._order)
        heapq.heappush(self._heap, (due, self._order, key))
