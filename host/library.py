"""The content-addressed store: one read-only file for each content, named by its hash.

    incoming/<random>  → being written           (swept at start: nothing refers to it)
    ab/ab12….png       → complete, and durable once `sync` has returned; until then nothing refers to it

A content is always copied (by reference where the filesystem can), never linked: whoever wrote the original may write
to it again. A crash before the journal's commit leaves a file that nobody refers to; the next arrival of that content
replaces it, so that a half-written one is never trusted. Whatever hinders the library itself is a LibraryError, so that
nobody takes a full disk for a file that cannot be read.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import itertools
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from host.durable import fsync, sync_files
from host.errors import LibraryError

CHUNK = 1024 * 1024
FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file (btrfs, XFS)
CLONE_FROM = 1024 * 1024
READ_ONLY = 0o444


@dataclass(frozen=True, slots=True)
class Stored:
    """A content in the library: hash (hex), size in bytes, and where it lies."""

    sha256: str
    size: int
    path: Path


class Library:
    """The store under one directory; its methods block and are called from threads."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._incoming = root / "incoming"
        self._serials = itertools.count()
        self._made: set[str] = set()

    def prepare(self) -> None:
        """Make the directories and sweep what a crash left half-written. Raises LibraryError, as all that writes."""
        with self._writing():
            self._incoming.mkdir(parents=True, exist_ok=True)
            for directory in (self.root, self.root.parent, self.root.parent.parent):
                fsync(directory)
            for entry in os.scandir(self._incoming):
                os.unlink(entry.path)

    def path_of(self, sha256: str, extension: str) -> Path:
        """Where a content lies, or would lie."""
        return self.root / sha256[:2] / f"{sha256}{extension}"

    def location_for(self, sha256: str, extension: str) -> str:
        """The name in the library that a content would get."""
        return f"{sha256[:2]}/{sha256}{extension}"

    def location_of(self, path: Path) -> str:
        """The name in the library of a stored content, as the journal keeps it."""
        return str(path.relative_to(self.root))

    def resolve(self, location: str) -> Path:
        """The path of a content by the journal's location: in the library, or where its owner keeps it."""
        return self.root / location

    @contextlib.contextmanager
    def receive(self, descriptor: int) -> Iterator[Receipt]:
        """Copy an open file in under a temporary name; `Receipt.store` gives it its place, else it is thrown away.

        Raises OSError when the file cannot be read.
        """
        temporary = self._temporary()
        with self._writing():
            target = _create(temporary)
        receipt = Receipt(self, temporary, target)
        try:
            receipt.sha256, receipt.size = self._copy(descriptor, target)
            yield receipt
        finally:
            os.close(target)
            if not receipt.stored:
                temporary.unlink(missing_ok=True)

    def add_bytes(self, content: bytes, extension: str) -> Stored:
        """Store a content that is in memory; durable only after `sync`.

        A name that is free is written to at once, which costs half of what a second name does. Until it is complete
        and durable nothing refers to it, so that a part which a crash leaves there is replaced like any other.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.path_of(sha256, extension)
        with self._writing():
            self._make_folder(path)
            try:
                _write_new(path, content)
            except FileExistsError:
                self._replace(path, content)
        return Stored(sha256, len(content), path)

    def put(self, content: bytes, location: str) -> Path:
        """Store a content of an event that is known where the journal says that it is; durable only after `sync`."""
        path = self.resolve(location)
        with self._writing():
            self._make_folder(path)
            self._replace(path, content)
        return path

    def _replace(self, path: Path, content: bytes) -> None:
        temporary = self._temporary()
        _write_new(temporary, content)
        os.rename(temporary, path)

    def place(self, temporary: Path, sha256: str, extension: str) -> Path:
        """Give a complete file its name by its hash."""
        path = self.path_of(sha256, extension)
        with self._writing():
            self._make_folder(path)
            os.rename(temporary, path)
        return path

    def _make_folder(self, path: Path) -> None:
        if path.parent.name not in self._made:
            path.parent.mkdir(exist_ok=True)
            self._made.add(path.parent.name)

    def sync(self, stored: Iterable[Path]) -> None:
        """Make contents durable, with their names."""
        with self._writing():
            sync_files(list(stored), self.root)

    def _temporary(self) -> Path:
        return self._incoming / f"{os.getpid()}-{next(self._serials)}"

    def _copy(self, source: int, target: int) -> tuple[str, int]:
        if os.fstat(source).st_size >= CLONE_FROM and _clone(source, target):
            return hash_file(target)
        digest, size = hashlib.sha256(), 0
        while chunk := os.read(source, CHUNK):
            digest.update(chunk)
            size += len(chunk)
            with self._writing():
                _write_all(target, chunk)
        return digest.hexdigest(), size

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            hint = "Make room on that disk." if is_full else "See to the rights of that folder and to its disk."
            raise LibraryError(f"The library {self.root} cannot be written: {error.strerror}.", hint) from error


class Receipt:
    """A copied content that is about to get its place."""

    def __init__(self, library: Library, temporary: Path, descriptor: int) -> None:
        self._library = library
        self._temporary = temporary
        self._descriptor = descriptor
        self.stored = False
        self.sha256 = ""
        self.size = 0

    def head(self, length: int) -> bytes:
        """The first bytes of the copy."""
        return os.pread(self._descriptor, length, 0)

    def store(self, extension: str) -> Stored:
        """Move the copy to its place; durable only after `Library.sync`."""
        path = self._library.place(self._temporary, self.sha256, extension)
        self.stored = True
        return Stored(self.sha256, self.size, path)


def hash_file(descriptor: int) -> tuple[str, int]:
    """sha256 (hex) and size of an open file, read from its beginning."""
    digest, size = hashlib.sha256(), 0
    os.lseek(descriptor, 0, os.SEEK_SET)
    while chunk := os.read(descriptor, CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size


def _create(path: Path) -> int:
    """A new file that nobody may open to write; its descriptor. Raises FileExistsError."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, READ_ONLY)


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, whole or not at all."""
    descriptor = _create(path)
    try:
        _write_all(descriptor, content)
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def _clone(source: int, target: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError:
        return False
    return True
