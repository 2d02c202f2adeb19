"""What a worker is handed of an event: the event as plugins know it, and where its content can be opened."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from host.journal import Journal, Row
from host.library import Library

FIELDS = (
    "kind",
    "id",
    "media_type",
    "sha256",
    "size",
    "name",
    "source",
    "origin",
    "parent",
    "role",
    "moment",
    "created",
)


def event_payload(row: Row, library: Library) -> dict[str, Any]:
    """An event as a worker gets it, from its row."""
    return {
        **{name: row[name] for name in FIELDS},
        "path": str(library.resolve(row["location"])),
        "tags": json.loads(row["tags"]),
        "metadata": json.loads(row["metadata"]),
    }


def content_problem(row: Row, library: Library) -> str:
    """Why an event's content cannot be opened as it was; empty when it can."""
    path = library.resolve(row["location"])
    try:
        status = os.stat(path)
    except OSError as error:
        return f"Its content is not at {path} any more ({error.strerror})."
    if row["mark"] and row["mark"] != f"{status.st_mtime_ns}.{status.st_size}.{status.st_ino}":
        return f"{path} was changed after it was taken in; its new content is an event of its own."
    return ""


async def bring(events: Iterable[Row], journal: Journal, library: Library) -> None:
    """Make files of contents that rest in the journal, where a worker is about to look for them."""
    missing = [row["id"] for row in events if not _is_whole(library.resolve(row["location"]), row["size"])]
    if missing and (resting := await resting_contents(missing, journal)):
        await asyncio.to_thread(put_all, resting, library)


def _is_whole(path: Path, size: int) -> bool:
    """Whether a content is there; a crash may have left a part of it."""
    try:
        return os.stat(path).st_size == size
    except OSError:
        return False


async def resting_contents(event_ids: Sequence[str], journal: Journal) -> list[Row]:
    """Those of the events' contents that rest in the journal."""
    return await journal.rows("resting_contents", ids=json.dumps(event_ids))


def put_all(resting: Iterable[Row], library: Library) -> list[Path]:
    """Write resting contents into the library, not yet durable; one whose event lies elsewhere stays there."""
    return [library.put(row["body"], row["location"]) for row in resting if not os.path.isabs(row["location"])]
