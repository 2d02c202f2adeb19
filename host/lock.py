"""One host per data directory: a lock that dies with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

from host.errors import AlreadyRunning, HostError

LOCK_NAME = "host.lock"


class HostLock:
    """Holds `<data>/host.lock` while it is entered; the file says who holds it. Makes the data directory.

    Children must not inherit the descriptor: the lock would outlive its process in them. Python sees to that.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._fd: int | None = None

    def __enter__(self) -> HostLock:
        """Raises AlreadyRunning with the process id of the host that holds the lock."""
        try:
            self._data.mkdir(parents=True, exist_ok=True)
            fd = os.open(self._data / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unusable(self._data, error) from error
        try:
            self._take(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _take(self, fd: int) -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(
                f"A host{_pid(fd)} already works with {self._data}.",
                "Stop it first, or name another data directory with --data.",
            ) from None
        except OSError as error:  # a filesystem without locks
            raise _unusable(self._data, error) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)


def _pid(fd: int) -> str:
    found = os.pread(fd, 20, 0).decode(errors="replace").strip()
    return f" (process {found})" if found.isdecimal() else ""


def _unusable(data: Path, error: OSError) -> HostError:
    return HostError(
        f"The data directory {data} cannot be used: {error.strerror}.",
        "Name a directory on a local disk that you may write to with --data.",
    )
