"""What was heard so far of a long recording, on disk, so that a crash costs the piece that was worked on and no more.

A file for each recording, model and settings: a line of JSON for each finished piece. It lies in the plugin's scratch
folder, which outlives worker and host. The file stays when the recording is finished, because its result is not yet in
the journal then; files that nobody wrote to for a week go when the next one is begun.
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from hooks import Segment

KEPT = 7 * 24 * 3600
SUFFIX = ".heard"


class Heard(BaseModel):
    """A finished piece: the sample that follows it, what was said, and the language as far as it was known."""

    model_config = ConfigDict(frozen=True)
    end: int
    language: str
    language_probability: float
    segments: tuple[Segment, ...]


class Notes:
    """The notes on one recording; `about` is all that what is heard depends on."""

    def __init__(self, folder: Path, *about: str) -> None:
        self.path = folder / (hashlib.sha256("\0".join(about).encode()).hexdigest()[:32] + SUFFIX)

    def read(self) -> list[Heard]:
        """The finished pieces in their order; a line that a crash cut off is taken away, with what follows it."""
        pieces: list[Heard] = []
        with suppress(FileNotFoundError), self.path.open("rb+") as file:
            whole = 0
            for line in file:
                try:
                    piece = Heard.model_validate_json(line)
                except ValidationError:
                    break
                if not line.endswith(b"\n"):
                    break
                pieces.append(piece)
                whole += len(line)
            file.truncate(whole)
        return pieces

    def add(self, piece: Heard) -> None:
        """Note a finished piece."""
        if not self.path.exists():
            _remove_old(self.path.parent)
        with self.path.open("ab") as file:
            file.write(piece.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _remove_old(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f"*{SUFFIX}"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - KEPT:
                path.unlink()
