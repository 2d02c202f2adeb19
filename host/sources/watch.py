"""watchdog's notifications, reduced to one hint for each directory that something happened in."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from host.config import Inbox
from host.sources.scan import CLAIM

# Six times fewer than all: a file that is written makes many notifications, and one is enough.
KINDS: list[type[FileSystemEvent]] = [FileClosedEvent, FileCreatedEvent, FileMovedEvent, DirCreatedEvent, DirMovedEvent]
Hint = Callable[[dict[str, bool], int], None]
GATHER = 0.02  # seconds: a burst becomes one hint for each directory
OVERFLOW_LOG = logging.getLogger("watchdog.observers.inotify_c")  # the only place where an overflow is told


def new_observer(skip: Callable[[int], None]) -> BaseObserver:
    """An observer; `skip` is told how many notifications are left out, from a thread. Raises OSError."""
    if not sys.platform.startswith("linux"):
        return Observer()
    from host.sources.inotify import FewNotifications  # cannot be imported elsewhere

    return FewNotifications(skip)


class Watch(FileSystemEventHandler):
    """Watches one inbox; calls `hint({directory: recursive}, notifications)` from a thread, once for many."""

    def __init__(self, inbox: Inbox, hint: Hint) -> None:
        self._inbox = inbox
        self._hint = hint
        self._observer: BaseObserver | None = None
        self._overflow = _Overflow(self._lost_some)
        self._changing = threading.Lock()  # of the observer: `start` may still run in a thread when `close` comes
        self._is_closed = False
        self._lock = threading.Lock()  # of what is gathered
        self._is_open = False
        self._gathered: dict[str, bool] = {}
        self._count = 0
        self._timer: threading.Timer | None = None

    def start(self) -> str:
        """Watch the folder (anew); an alarm when the system refuses, after which the inbox is polled."""
        with self._changing:
            return self._start()

    def _start(self) -> str:
        self._stop()
        if self._inbox.mode == "poll" or self._is_closed:
            return ""
        observer: BaseObserver | None = None
        with self._lock:
            self._is_open = True
        try:
            observer = new_observer(self._skipped)
            observer.schedule(self, str(self._inbox.path), recursive=self._inbox.recursive, event_filter=KINDS)
            observer.start()
        except OSError as error:
            if observer is not None:
                observer.stop()
            return (
                f"{self._inbox.path} cannot be watched ({os.strerror(error.errno or 0)}); it is polled instead. "
                'Raise fs.inotify.max_user_watches and max_user_instances, or set mode = "poll".'
            )
        self._observer = observer
        OVERFLOW_LOG.addHandler(self._overflow)
        return ""

    @property
    def has_died(self) -> bool:
        """Whether it was started and does not watch any more: the folder was deleted."""
        return self._observer is not None and not all(emitter.is_alive() for emitter in self._observer.emitters)

    @property
    def shortage(self) -> str:
        """An alarm when some folders below are not watched, because no more can be; empty when all are."""
        if not getattr(self._observer, "has_missed_folders", False):
            return ""
        return (
            f"Some folders in {self._inbox.path} are not watched, since the system's limit is reached; it is polled as "
            "well. Raise it, as by `sudo sysctl fs.inotify.max_user_watches=1048576`, and start the host again."
        )

    def close(self) -> None:
        """Stop watching for good; no hint comes after this, whatever a thread is still about to tell."""
        with self._changing:
            self._is_closed = True
            self._stop()

    def _stop(self) -> None:
        if self._observer is not None:
            OVERFLOW_LOG.removeHandler(self._overflow)
            self._observer.stop()
            self._observer.join()
            self._observer = None
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._gathered, self._count, self._timer, self._is_open = {}, 0, None, False

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Gather; the first of a burst starts the timer that passes the hints on."""
        path = os.fsdecode(event.dest_path or event.src_path)
        folder, name = os.path.split(path)
        if event.is_directory:
            self._gather(path, True)
        elif not name.startswith(CLAIM):  # the host's own doing, once for each file that it takes out of the inbox
            self._gather(folder, False)

    def _lost_some(self) -> None:
        self._gather(str(self._inbox.path), True)

    def _skipped(self, notifications: int) -> None:
        with self._lock:
            self._count += notifications

    def _gather(self, directory: str, recursive: bool) -> None:
        with self._lock:
            if not self._is_open:
                return
            self._gathered[directory] = self._gathered.get(directory, False) or recursive
            self._count += 1
            if self._timer is None:
                self._timer = threading.Timer(GATHER, self._pass_on)
                self._timer.daemon = True
                self._timer.start()

    def _pass_on(self) -> None:
        with self._lock:
            if self._timer is None:
                return
            gathered, self._gathered, count, self._count, self._timer = self._gathered, {}, self._count, 0, None
            self._hint(gathered, count)


class _Overflow(logging.Handler):
    """Hears watchdog say that the kernel's queue overflowed."""

    def __init__(self, tell: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self._tell()
