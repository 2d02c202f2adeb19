"""What of a folder to scan next, and when. No I/O here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf

BURST = 1000  # notifications after which everything is scanned: the kernel's queue may have overflowed
SCAN_SHARE = 2  # a scan that took t is followed by another after at least 2 t


class ScanPlan:
    """Directories that something happened in, and the time of the next scan of everything.

        notice:     one directory → scanned next; below a directory, or a burst → everything too, `again_after` later,
                    because the system does not report everything then
        ask_whole:  everything, after a while
        `every`:    everything, so long after the last time

    `clock` is monotonic, in seconds.
    """

    def __init__(self, root: str, every: float, again_after: float, clock: Callable[[], float]) -> None:
        self._root = root
        self.every = every
        self._again_after = again_after
        self._clock = clock
        self._directories: dict[str, bool] = {}
        self._notifications = 0
        self._asked_at = -inf
        self._scanned_at = -inf
        self._not_before = -inf

    def notice(self, directories: Mapping[str, bool], notifications: int) -> None:
        """Something happened in these directories; `True`: or anywhere below."""
        for directory, recursive in directories.items():
            self._directories[directory] = self._directories.get(directory, False) or recursive
        self._notifications += notifications
        if any(directories.values()) or self._notifications >= BURST:
            self.ask_whole(self._again_after)

    def ask_whole(self, after: float = 0.0) -> None:
        """Have everything scanned so many seconds from now, or sooner if that was asked for before."""
        self._asked_at = min(self._asked_at, self._clock() + after)

    @property
    def is_pending(self) -> bool:
        """Whether a scan is due or will be, other than the regular one."""
        return bool(self._directories) or self._asked_at < inf

    def next(self) -> float:
        """The clock's time of the next scan."""
        regular = self._scanned_at + self.every
        return max(self._not_before, -inf if self._directories else min(self._asked_at, regular))

    def take(self) -> list[tuple[str, bool]]:
        """The directories to scan now, each alone or with all below it; empty when it is not time."""
        now = self._clock()
        if now < self._not_before:
            return []
        if now < min(self._asked_at, self._scanned_at + self.every):
            jobs = list(self._directories.items())
        else:
            jobs = [(self._root, True)]
            self._scanned_at, self._asked_at, self._notifications = now, inf, 0
        self._directories = {}
        return jobs

    def took(self, seconds: float) -> None:
        """A scan lasted so long: rest, so that a folder of a million files does not keep a core busy."""
        self._not_before = self._clock() + SCAN_SHARE * seconds
