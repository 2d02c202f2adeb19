"""What lies in a folder: the truth that notifications only hint at. Blocking; called from threads."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import translate
from pathlib import Path
from typing import NamedTuple

from host.config import Inbox
from host.names import to_text

CLAIM = ".sensorium-claim-"
PORTION = 2000  # entries of a folder that are handed on together: a folder may have millions
# Half-written, hidden, or made by systems and not by people.
JUNK = (
    ".*", "~*", "*~", "*.part", "*.partial", "*.crdownload", "*.download", "*.filepart", "*.tmp", "*.swp", "*.swx",
    "Thumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found", "#recycle",
)  # fmt: skip


def matcher(patterns: Iterable[str]) -> re.Pattern[str]:
    """One expression for many glob patterns: a burst asks it a hundred thousand times."""
    return re.compile("|".join(translate(pattern) for pattern in patterns) or r"(?!)")


_JUNK = matcher(JUNK)


class Look(NamedTuple):
    """How a file looks from outside; a file whose look stays the same was not written to."""

    size: int
    mtime_ns: int
    inode: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Look:
        """The look in the answer of a stat call."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)

    @property
    def revision(self) -> str:
        """What tells this state of the file from its others; a chmod or a rename changes nothing."""
        return f"{self.mtime_ns}.{self.size}.{self.inode}"

    def is_of(self, status: os.stat_result) -> bool:
        """Whether the file is still the one, with the same revision."""
        return status.st_mtime_ns == self.mtime_ns and status.st_size == self.size and status.st_ino == self.inode


class Found(NamedTuple):
    """A file in an inbox: its name there as text, its path, and how it looks."""

    origin: str
    path: str
    look: Look


@dataclass(slots=True)
class Findings:
    """A portion of a scan: files, what is refused at sight and why, and claims that a crash left behind."""

    files: list[Found] = field(default_factory=list)
    refused: list[tuple[Found, str]] = field(default_factory=list)
    claims: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.files) + len(self.refused) + len(self.claims)


class Scanner:
    """Lists one inbox by its rules; the paths in `skip` are no part of it."""

    def __init__(self, inbox: Inbox, skip: Iterable[Path]) -> None:
        self.root = str(inbox.path)
        self._inbox = inbox
        self._skip = frozenset(_as_seen_from(self.root, path) for path in skip)
        self._ignored = matcher(inbox.ignore)
        self._limit = inbox.max_size_mb * 1024 * 1024

    def scan(self, directory: str, *, recursive: bool) -> Generator[Findings, None, None]:
        """Everything in a directory of the inbox, portion by portion; what vanishes meanwhile is left out.

        Raises OSError when the inbox itself cannot be listed.
        """
        findings = Findings()
        pending = [] if self.is_ignored(directory) else [directory]
        while pending:
            current = pending.pop()
            try:
                for entry in self._listed(current):
                    if self._note(entry, findings) and recursive:
                        pending.append(entry.path)
                    if len(findings) >= PORTION:
                        yield findings
                        findings = Findings()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                if current == self.root:
                    raise
                self._refuse_folder(current, error, findings)
        if len(findings):
            yield findings

    def origin_of(self, path: str) -> str:
        """The name of a file in its inbox, as text."""
        return to_text(path[len(self.root) + 1 :])

    def is_ignored(self, path: str) -> bool:
        """Whether a path in the inbox, or a folder that it lies in, is junk or ignored by the inbox's rule."""
        parts = Path(path[len(self.root) + 1 :]).parts
        above = [os.path.join(*parts[: depth + 1]) for depth in range(len(parts))]
        return any(self._is_left_alone(os.path.basename(relative), relative) for relative in above)

    def judge(self, path: str) -> tuple[Found, str] | None:
        """How a file looks now, and why it is refused (empty when it is not); None when it went away."""
        try:
            status = os.lstat(path)
        except OSError:
            return None
        found = Found(self.origin_of(path), path, Look.of(status))
        return found, self._refusal(found, status)

    def _listed(self, directory: str) -> Iterator[os.DirEntry[str]]:
        with os.scandir(directory) as entries:
            yield from self._marked(list(entries)) if self._inbox.marker else entries

    def _note(self, entry: os.DirEntry[str], findings: Findings) -> bool:
        """Put an entry where it belongs; True for a folder that is to be scanned as well."""
        if entry.name.startswith(CLAIM):
            findings.claims.append(entry.path)
            return False
        if self._is_left_alone(entry.name, entry.path[len(self.root) + 1 :]):
            return False
        if entry.is_dir(follow_symlinks=False):
            return self._inbox.recursive
        judged = self.judge(entry.path)
        if judged is not None:
            found, refusal = judged
            if refusal:
                findings.refused.append(judged)
            else:
                findings.files.append(found)
        return False

    def _is_left_alone(self, name: str, relative: str) -> bool:
        return relative in self._skip or bool(
            _JUNK.match(name) or self._ignored.match(name) or self._ignored.match(relative)
        )

    def _refuse_folder(self, directory: str, error: OSError, findings: Findings) -> None:
        judged = self.judge(directory)
        if judged is not None:
            reason = f"This folder cannot be listed: {error.strerror}. Give the host's user the right to read it."
            findings.refused.append((judged[0], reason))

    def _refusal(self, found: Found, status: os.stat_result) -> str:
        if stat.S_ISREG(status.st_mode):
            if status.st_size > self._limit:
                return (
                    f"It has {status.st_size:,} bytes; this inbox takes files up to {self._limit:,}. "
                    f"Raise max_size_mb of inbox {self._inbox.name!r} if it is wanted."
                )
            return ""
        if stat.S_ISLNK(status.st_mode):
            return _link_refusal(found.path, self.root)
        return f"It is {_nature(status.st_mode)}, not a file. Only regular files are taken in."

    def _marked(self, listed: list[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        names, marker = {entry.name for entry in listed}, self._inbox.marker
        for entry in listed:
            if entry.is_dir(follow_symlinks=False) or entry.name + marker in names or entry.name.startswith(CLAIM):
                yield entry


def _as_seen_from(root: str, path: Path) -> str:
    """A path relative to the inbox, by whatever links either is named; what lies elsewhere matches nothing there."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(root))


def _link_refusal(path: str, root: str) -> str:
    target = os.path.realpath(path)
    if not os.path.exists(target):
        return f"It is a link to {to_text(target)}, which does not exist. Put the file itself here."
    if os.path.commonpath([target, os.path.realpath(root)]) != os.path.realpath(root):
        return f"It is a link to {to_text(target)}, outside the inbox. Copy the file itself into the inbox."
    return "It is a link to another file of this inbox, which is taken in by itself. Links are not followed."


def _nature(mode: int) -> str:
    kinds = (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISDIR, "a folder"),
    )
    return next((name for matches, name in kinds if matches(mode)), "something special")
