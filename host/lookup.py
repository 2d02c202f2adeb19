"""What people name events by: a path, where the content lies, its hash, or the beginning of an id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from host.errors import NotFound, UsageError
from host.journal import Journal
from host.library import hash_file
from host.names import from_text, to_text
from host.sources.folder import FolderSource

SHORTEST = 4  # characters of an id that are taken for one


@dataclass(frozen=True, slots=True)
class PathName:
    """An absolute path; `there` is what lies at it (a link as what it leads to, where it leads anywhere)."""

    name: str
    there: os.stat_result | None

    @property
    def is_file(self) -> bool:
        """Whether it can be read as a file, without waiting for anybody."""
        return self.there is not None and stat.S_ISREG(self.there.st_mode)


def path_of(query: str) -> PathName:
    """The path that a query (a name as `names.to_text` makes it) would be; one look at the disk."""
    name = os.path.abspath(from_text(query))
    for look in (os.stat, os.lstat):
        with contextlib.suppress(OSError, ValueError):
            return PathName(name, look(name))
    return PathName(name, None)


async def find_event(query: str, journal: Journal, sources: Sequence[FolderSource]) -> str:
    """The id of the event that is meant, of several with one path the latest. Raises NotFound, UsageError."""
    path = path_of(query)
    event_id = (
        (await _by_id(query, journal) if path.there is None else None)
        or await _by_origin(query, path.name, journal, sources)
        or await _by_content(query, path, journal)
    )
    if event_id is None:
        raise NotFound(f"Nothing is known of {query}.", "Name a file in an inbox, a submitted file, or an event id.")
    return event_id


async def _by_id(query: str, journal: Journal) -> str | None:
    prefix = query.lower()
    if len(prefix) < SHORTEST or not all(character in "0123456789abcdef" for character in prefix):
        return None
    rows = await journal.rows("events_by_prefix", prefix=prefix)
    if len(rows) > 1:
        raise UsageError(f"{query} is the beginning of several ids.", f"Say more of it, as {rows[0]['id']}.")
    return str(rows[0]["id"]) if rows else None


async def _by_origin(query: str, path: str, journal: Journal, sources: Sequence[FolderSource]) -> str | None:
    inside = [(origin, one.inbox.name) for one in sources if (origin := one.origin_of(path)) is not None]
    anywhere = [(origin, None) for origin in dict.fromkeys((to_text(path), query))]
    for origin, source in (*inside, *anywhere):
        rows = await journal.rows("arrivals_by_origin", origin=origin, source=source)
        if found := [row["event_id"] for row in rows if row["event_id"]]:
            return str(found[0])
    return None


async def _by_content(query: str, path: PathName, journal: Journal) -> str | None:
    digest = Path(query).stem  # of a file in the library
    if path.there is not None and path.is_file:
        if await journal.row("event_of_size", size=path.there.st_size) is None:
            return None  # and a file of a terabyte is not read to learn that
        try:
            digest, _ = await asyncio.to_thread(hash_of, path.name)
        except OSError:
            return None
    rows = await journal.rows("events_by_sha256", sha256=digest)
    return str(rows[0]["id"]) if rows else None


def hash_of(path: str) -> tuple[str, int]:
    """sha256 (hex) and size of a file; blocks."""
    with open(path, "rb") as file:
        return hash_file(file.fileno())
