"""What a worker is handed of an event: the event as plugins know it, and where its content can be opened."""

from __future__ import annotations

import json
import os
from typing import Any

from host.journal import Row
from host.library import Library

FIELDS = ("kind", "id", "media_type", "sha256", "size", "name", "source", "origin", "parent", "created")


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
