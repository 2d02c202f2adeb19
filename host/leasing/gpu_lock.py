"""One host at a time on a GPU: a lock file by its UUID, held from the first load there until the last model has left.

Hosts of other users, and of other data directories, take turns by it. The lock dies with its process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path


class GpuLock:
    """The lock of one GPU; `owner` says in the file who holds it."""

    def __init__(self, uuid: str, owner: str, folder: Path | None = None) -> None:
        self._path = (folder or lock_folder()) / f"sensorium-{uuid}.lock"
        self._owner = owner
        self._fd: int | None = None

    def take(self) -> str:
        """Hold the lock: empty when that is so, else a sentence that names who holds it."""
        if self._fd is not None:
            return ""
        try:
            fd = self._open()
        except OSError as error:
            return f"The lock file {self._path} cannot be used: {error.strerror}. Remove it, or let this user write it."
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(fd, 4096, 0).decode(errors="replace").strip()
            os.close(fd)
            return f"Another host works on it: {holder or 'its process is not known'}. Models wait until it lets go."
        if not self._is_at_its_place(fd):  # somebody tidied up between the two calls
            os.close(fd)
            return self.take()
        self._fd = fd
        with contextlib.suppress(OSError):  # another user's file can be locked, and not written
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"process {os.getpid()}, {self._owner}\n".encode(), 0)
        return ""

    def release(self) -> None:
        """Let others have the GPU."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _open(self) -> int:
        flags = os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(FileNotFoundError):
            try:
                return os.open(self._path, os.O_RDWR | flags)
            except PermissionError:
                return os.open(self._path, os.O_RDONLY | flags)
        return os.open(self._path, os.O_RDWR | os.O_CREAT | flags, 0o644)

    def _is_at_its_place(self, fd: int) -> bool:
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(fd), os.stat(self._path))
        return False


def lock_folder() -> Path:
    """Where all users of this machine may make files: nothing there is tidied away while it is in use."""
    shared = Path("/run/lock")
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
