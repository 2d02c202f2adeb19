"""A file that arrived: how it is read without being fooled, and how its inbox is rid of it afterwards."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from host.identify import HEAD
from host.intake import Identify, Refused, Taken, Unsettled, extension_of
from host.library import Library, hash_file
from host.names import is_text
from host.sources.scan import CLAIM, Found, Look
from host.steps import Observe

# Never follow a link, never wait for the other end of a pipe, and look again at what was really opened.
SAFE_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NAME_LIMIT = 255


@dataclass(frozen=True, slots=True)
class FileArrival:
    """A settled file; with `keep` its content stays where it is and is only hashed."""

    source: str
    found: Found
    keep: bool
    tags: tuple[str, ...] = ()

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
            descriptor = os.open(self.found.path, SAFE_READ)
        except OSError as error:
            return _unreadable(error)
        try:
            if not self._is_unchanged(descriptor):
                return Unsettled()
            taken = self._keep(descriptor, identify) if self._stays() else self._copy(descriptor, library, identify)
            observe("hashed")
            return taken if self._is_unchanged(descriptor) else Unsettled()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            return _unreadable(error)
        finally:
            os.close(descriptor)

    def _stays(self) -> bool:
        return self.keep and is_text(self.found.path)  # a worker is told the path as text

    def _is_unchanged(self, descriptor: int) -> bool:
        status = os.fstat(descriptor)
        return stat.S_ISREG(status.st_mode) and Look.of(status).revision == self.revision

    def _keep(self, descriptor: int, identify: Identify) -> Taken | Refused:
        identity = identify(os.pread(descriptor, HEAD, 0), self.origin)
        if identity is None:
            return _unknown()
        sha256, size = hash_file(descriptor)
        return Taken(sha256, size, *identity, location=self.found.path, mark=self.revision, stored=None)

    def _copy(self, descriptor: int, library: Library, identify: Identify) -> Taken | Refused:
        identity = identify(os.pread(descriptor, HEAD, 0), self.origin)
        if identity is None:
            return _unknown()
        with library.receive(descriptor) as receipt:
            stored = receipt.store(extension_of(self.origin))
        location = library.location_of(stored.path)
        return Taken(stored.sha256, stored.size, *identity, location=location, mark="", stored=stored.path)


def _unreadable(error: OSError) -> Refused | Unsettled:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Unsettled()
    if error.errno in (errno.EACCES, errno.EPERM):
        return Refused("It may not be read. Give the host's user the right to read it.")
    return Refused(f"It cannot be read: {os.strerror(error.errno or 0)}. It is tried again when it changes.")


def _unknown() -> Refused:
    return Refused("Its content is of no type that is known. See `sensorium plugins` for plugins that add types.")


def acknowledge(found: Found, after: Literal["remove", "done"], root: str, done: Path | None, observe: Observe) -> None:
    """Rid the inbox of a committed file, unless it was replaced meanwhile: then the new one is left to be taken in.

    The file is first renamed, so that what is looked at is what is removed. A crash in between leaves a claim, which
    `restore` gives its name back.
    """
    folder, name = os.path.split(found.path)
    claim = os.path.join(folder, CLAIM + name)
    if len(os.fsencode(CLAIM + name)) > NAME_LIMIT:
        claim = os.path.join(folder, f"{CLAIM}{found.look.inode}{os.path.splitext(name)[1][-20:]}")
    try:
        os.rename(found.path, claim)
    except FileNotFoundError:
        return  # it went away by itself
    observe("before unlink")
    if Look.of(os.lstat(claim)).revision != found.look.revision:
        restore(claim, found.path)
    elif after == "done" and done is not None:
        _move_aside(claim, done / os.path.relpath(found.path, root))
    else:
        os.unlink(claim)
    observe("after unlink")


def restore(claim: str, path: str | None = None) -> None:
    """Give a claimed file its name back, or the nearest free one."""
    if path is None:
        folder, name = os.path.split(claim)
        path = os.path.join(folder, name.removeprefix(CLAIM))
    with contextlib.suppress(FileNotFoundError):
        _rename_free(claim, Path(path))


def _move_aside(claim: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _rename_free(claim, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_across(claim, target)


def _rename_free(source: str, target: Path) -> None:
    """Rename without ever replacing a file: a hard link fails where a rename would overwrite."""
    for candidate in _candidates(target):
        try:
            os.link(source, candidate, follow_symlinks=False)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EMLINK) or candidate.exists():
                raise
            os.rename(source, candidate)  # a filesystem without hard links
            return
        os.unlink(source)
        return


def _copy_across(source: str, target: Path) -> None:
    free = next(candidate for candidate in _candidates(target) if not candidate.exists())
    shutil.copy2(source, free)
    os.unlink(source)


def _candidates(target: Path) -> list[Path]:
    return [target, *(target.with_name(f"{target.stem} ({number}){target.suffix}") for number in range(2, 10_000))]
