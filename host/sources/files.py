"""A file that arrived: how it is read without being fooled, and how its inbox is rid of it afterwards.

Whoever may write to an inbox must not be able to lead the host out of it: no link is followed on the way from the
inbox's folder down to the file, neither for reading nor for removing.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from host.durable import NAME_LIMIT
from host.identify import HEAD, extension_of
from host.intake import Identify, Refused, Taken, Unsettled
from host.library import Library, hash_file
from host.names import is_text
from host.sources.scan import CLAIM, Found
from host.steps import Observe

# Never follow a link, never wait for the other end of a pipe, and look again at what was really opened.
SAFE_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
SAFE_FOLDER = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
READ_WHOLE = 1024 * 1024  # bytes; larger files are read piece by piece
GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})  # ELOOP: a link came in its place


class Folders:
    """Descriptors of the folders below `root` that files lie in, reached without following a link below it.

    The latest stays open until another is asked for, as files of a folder come one after the other. For one thread.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self._path = ""
        self._descriptor = -1

    def __enter__(self) -> Folders:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def of(self, path: str) -> int:
        """The folder that a file lies in. Raises OSError when there is no such folder any more."""
        folder = os.path.dirname(path)
        if folder != self._path:
            self._close()
            self._descriptor, self._path = self._reach(folder), folder
        return self._descriptor

    def _reach(self, folder: str) -> int:
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in filter(None, folder.removeprefix(self.root).split(os.sep)):
            try:
                deeper = os.open(part, SAFE_FOLDER, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = deeper
        return descriptor

    def _close(self) -> None:
        if self._path:
            os.close(self._descriptor)
            self._path = ""


@dataclass(frozen=True, slots=True)
class FileArrival:
    """A settled file below `root`; with `keep` its content stays where it is and is only hashed.

    `folders` are those of a group that is taken in together.
    """

    source: str
    found: Found
    root: str
    keep: bool
    tags: tuple[str, ...] = ()
    folders: Folders | None = None

    @property
    def origin(self) -> str:
        return self.found.origin

    @property
    def revision(self) -> str:
        return self.found.look.revision

    @property
    def changed(self) -> int:
        return self.found.look.ctime_ns

    def take(self, library: Library, identify: Identify, observe: Observe) -> Taken | Refused | Unsettled:
        """Read the file once: hash it, tell what it is, and copy it into the library unless it stays."""
        observe("claimed")
        if self.found.look.size == 0:
            return Refused("It is empty. Send it again with its content.")
        try:
            if self.folders is not None:
                return self._take(self.folders.of(self.found.path), library, identify, observe)
            with Folders(self.root) as folders:
                return self._take(folders.of(self.found.path), library, identify, observe)
        except OSError as error:
            return _unreadable(error)

    def _take(self, folder: int, library: Library, identify: Identify, observe: Observe) -> Taken | Refused | Unsettled:
        descriptor = os.open(os.path.basename(self.found.path), SAFE_READ, dir_fd=folder)
        try:
            if not self._is_unchanged(descriptor):
                return Unsettled()
            taken = self._read(descriptor, library, identify)
            observe("hashed")
            return taken if self._is_unchanged(descriptor) else Unsettled()
        finally:
            os.close(descriptor)

    def _is_unchanged(self, descriptor: int) -> bool:
        status = os.fstat(descriptor)
        return stat.S_ISREG(status.st_mode) and self.found.look.is_of(status)

    def _read(self, descriptor: int, library: Library, identify: Identify) -> Taken | Refused:
        size = self.found.look.size
        content = os.read(descriptor, size) if size <= READ_WHOLE else None
        identity = identify(os.pread(descriptor, HEAD, 0) if content is None else content[:HEAD], self.origin)
        if identity is None:
            return Refused("Its content is of no known type. `sensorium plugins` lists the plugins that add types.")
        if self.keep and is_text(self.found.path):  # a worker is told the path as text
            known = hash_file(descriptor) if content is None else (hashlib.sha256(content).hexdigest(), len(content))
            return Taken(*known, *identity, location=self.found.path, mark=self.revision, stored=None)
        if content is None:
            with library.receive(descriptor) as receipt:
                stored = receipt.store(extension_of(self.origin))
        else:
            stored = library.add_bytes(content, extension_of(self.origin))
        location = library.location_of(stored.path)
        return Taken(stored.sha256, stored.size, *identity, location=location, mark="", stored=stored.path)


def _unreadable(error: OSError) -> Refused | Unsettled:
    if error.errno in GONE:
        return Unsettled()
    if error.errno in (errno.EACCES, errno.EPERM):
        return Refused("It may not be read. Give the host's user the right to read it.")
    return Refused(f"It cannot be read: {os.strerror(error.errno or 0)}. It is tried again when it changes.")


def acknowledge(found: Found, folders: Folders, done: Path | None, observe: Observe) -> bool:
    """Rid the inbox of a committed file: move it under `done`, or remove it. False when it was replaced meanwhile.

    The file is first renamed, so that what is looked at is what is removed; a new one under its name gets that name
    back and is left to be taken in. A crash in between leaves a claim, which `restore` gives its name back. Raises
    OSError, the file being where it was.
    """
    try:
        return _Claim(folders.of(found.path), found).finish(folders.root, done, observe)
    except OSError as error:
        if error.errno in GONE:
            return True  # it went away by itself
        raise


class _Claim:
    """A file under the name that nobody else uses; see `CLAIM`."""

    def __init__(self, folder: int, found: Found) -> None:
        self._folder = folder
        self._found = found
        self._name = os.path.basename(found.path)
        self._inner = ""
        self._claim = CLAIM + self._name
        if len(os.fsencode(self._claim)) > NAME_LIMIT:  # no room for the prefix: under its own name in a folder
            self._inner = f"{CLAIM}{found.look.inode}"
            self._claim = os.path.join(self._inner, self._name)

    def finish(self, root: str, done: Path | None, observe: Observe) -> bool:
        if self._inner:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._inner, dir_fd=self._folder)
        try:
            os.rename(self._name, self._claim, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            observe("before unlink")
            unchanged = self._is_what_was_taken()
            if not unchanged:
                self._give_back()
            elif done is None:
                os.unlink(self._claim, dir_fd=self._folder)
            else:
                self._move(done / os.path.relpath(self._found.path, root))
            observe("after unlink")
            return unchanged
        finally:
            if self._inner:
                with contextlib.suppress(OSError):
                    os.rmdir(self._inner, dir_fd=self._folder)

    def _is_what_was_taken(self) -> bool:
        return self._found.look.is_of(os.stat(self._claim, dir_fd=self._folder, follow_symlinks=False))

    def _give_back(self) -> None:
        _rename_free(self._claim, Path(self._name), self._folder, self._folder)

    def _move(self, target: Path) -> None:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _rename_free(self._claim, target, self._folder)
        except OSError as error:
            if error.errno != errno.EXDEV:
                self._give_back()
                raise
            self._copy_across(target)

    def _copy_across(self, target: Path) -> None:
        free = next(candidate for candidate in _candidates(target) if not os.path.lexists(candidate))
        try:
            with open(os.open(self._claim, SAFE_READ, dir_fd=self._folder), "rb") as source, free.open("xb") as copy:
                shutil.copyfileobj(source, copy)
            os.utime(free, ns=(self._found.look.mtime_ns, self._found.look.mtime_ns))
        except OSError:
            free.unlink(missing_ok=True)
            self._give_back()
            raise
        os.unlink(self._claim, dir_fd=self._folder)


def restore(claim: str) -> None:
    """Give what a crash left claimed its name back, or the nearest free one."""
    folder, name = os.path.split(claim)
    if os.path.isdir(claim) and not os.path.islink(claim):
        for inner in os.listdir(claim):
            _rename_free(os.path.join(claim, inner), Path(folder, inner))
        with contextlib.suppress(OSError):
            os.rmdir(claim)
        return
    with contextlib.suppress(FileNotFoundError):
        _rename_free(claim, Path(folder, name.removeprefix(CLAIM)))


def _rename_free(source: str, target: Path, source_folder: int | None = None, target_folder: int | None = None) -> None:
    """Rename without ever replacing a file: a hard link fails where a rename would overwrite."""
    places = {"src_dir_fd": source_folder, "dst_dir_fd": target_folder}
    for candidate in _candidates(target):
        try:
            os.link(source, candidate, follow_symlinks=False, **places)
        except FileExistsError:
            continue
        except OSError as error:  # a folder, or a filesystem without hard links
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK):
                raise
            if _is_there(candidate, target_folder):
                continue
            os.rename(source, candidate, **places)
            return
        os.unlink(source, dir_fd=source_folder)
        return


def _is_there(path: Path, folder: int | None) -> bool:
    try:
        os.stat(path, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _candidates(target: Path) -> Iterator[Path]:
    yield target
    for number in range(2, 10_000):
        yield target.with_name(f"{target.stem} ({number}){target.suffix}")
