"""inotify's notifications, in as many as a folder needs: of all that are read at once, one for each directory.

watchdog passes every notification through two threads and three queues. In a burst that is a quarter of all work,
and all that is wanted of it is which directory to scan. Linux only.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable

from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)

from host.sources.scan import CLAIM

READ_EVERY = 0.02  # seconds
READ_BYTES = 256 * 1024
_CLAIM = os.fsencode(CLAIM)
_CAME = InotifyConstants.IN_CREATE | InotifyConstants.IN_CLOSE_WRITE | InotifyConstants.IN_MOVED_TO
_LEFT = InotifyConstants.IN_MOVED_FROM


class FewNotifications(BaseObserver):
    """An observer that tells of one file in a directory for all that came there at once; `skip` counts the others."""

    def __init__(self, skip: Callable[[int], None]) -> None:
        self._reader = _Reader(skip)
        super().__init__(InotifyEmitter, inotify_fd=self._reader)

    def start(self) -> None:
        """Watch what is scheduled. Raises OSError when the system refuses."""
        self._reader.start()
        super().start()

    @property
    def has_missed_folders(self) -> bool:
        """Whether the system's limit kept some folders from being watched, of which watchdog says nothing."""
        return self._reader.has_missed_folders

    def on_thread_stop(self) -> None:
        """Give up the watches, then inotify itself."""
        super().on_thread_stop()
        self._reader.stop()


class _Reader(InotifyFD):
    def __init__(self, skip: Callable[[int], None]) -> None:
        super().__init__()
        self._skip = skip
        self.has_missed_folders = False

    def add_callback(self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId) -> WatchDescriptor:
        """Watch a folder. Raises OSError when the system refuses."""
        try:
            return super().add_callback(path, mask, callback, id_)
        except OSError as error:
            self.has_missed_folders |= error.errno == errno.ENOSPC
            raise

    def read_events(self, *, event_buffer_size: int = READ_BYTES) -> list[InotifyEvent]:
        """What watchdog is to hear of; the next ones gather meanwhile."""
        time.sleep(READ_EVERY)
        events = super().read_events(event_buffer_size=event_buffer_size)
        wanted, skipped = reduced(events)
        self._skip(skipped)
        return wanted


def reduced(events: Iterable[InotifyEvent]) -> tuple[list[InotifyEvent], int]:
    """All that happened to directories and the first file that came into each; and how many more came.

    The host's own doing is left out, which is a claim for each file that it takes out of an inbox.
    """
    wanted: list[InotifyEvent] = []
    told: set[int] = set()
    came = 0
    for event in events:
        if event.mask & InotifyConstants.IN_ISDIR or not event.mask & (_CAME | _LEFT):
            wanted.append(event)
        elif event.mask & _CAME and not event.name.startswith(_CLAIM):
            came += 1
            if event.wd not in told:
                told.add(event.wd)
                wanted.append(event)
    return wanted, came - len(told)
