"""Files that survive a power cut: one flush of the filesystem for many, one each for few."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

SYNC_EACH_UP_TO = 4  # files in a group; beyond that one syncfs is cheaper than an fsync for each
NAME_LIMIT = 255  # bytes in a file name on common filesystems


def sync_files(paths: Sequence[Path], root: Path) -> None:
    """Make files durable with their names; all of them lie under `root`, on one filesystem."""
    if len(paths) > SYNC_EACH_UP_TO and _syncfs(root):
        return
    for path in paths:
        fsync(path)
    for directory in {directory for path in paths for directory in _directories(path, root)}:
        fsync(directory)


def _directories(path: Path, root: Path) -> Iterator[Path]:
    """Every directory from the root to the file: any of them may have been made for it."""
    for directory in path.parents:
        yield directory
        if directory == root:
            return


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file by a complete one: readers see the old or the new, never a part.

    The temporary name follows from the file's own, so what a crash left there is overwritten by the next attempt.
    """
    temporary = _temporary(path)
    temporary.write_bytes(content)
    os.replace(temporary, path)


def copy_atomically(source: Path, path: Path) -> bool:
    """Replace a file by a copy of another, as `write_atomically`; False when the other is not there (any more)."""
    temporary = _temporary(path)
    try:
        shutil.copyfile(source, temporary)
    except FileNotFoundError:
        if path.parent.is_dir():
            return False
        raise
    os.replace(temporary, path)
    return True


def _temporary(path: Path) -> Path:
    return path.with_name(f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:20]}.part")


def fsync(path: Path) -> None:
    """Make one file's content, or one directory's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _syncfs(directory: Path) -> bool:
    """Flush the directory's filesystem (syncfs(2), which reports write errors since Linux 5.8); False without it."""
    if not sys.platform.startswith("linux"):
        return False
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), f"syncfs failed: {os.strerror(ctypes.get_errno())}", str(directory))
    finally:
        os.close(descriptor)
    return True
