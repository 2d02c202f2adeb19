"""What a plugin writes outside of its scratch folder, as Python's own audit events tell it (PEP 578).

No sandbox: it finds mistakes, and hinders nobody. What libraries write by C code of their own, and what other programs
do that a plugin starts, is not seen.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# By audit event: which of its arguments name what is changed. https://docs.python.org/3/library/audit_events.html
CHANGES = {
    "os.remove": (0,),
    "os.rename": (0, 1),
    "os.mkdir": (0,),
    "os.rmdir": (0,),
    "os.truncate": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.chmod": (0,),
}
CACHES = (
    "XDG_CACHE_HOME",
    "HF_HOME",
    "TORCH_HOME",
    "TRITON_CACHE_DIR",
    "NUMBA_CACHE_DIR",
    "MPLCONFIGDIR",
    "CUDA_CACHE_PATH",
)
MOST = 20  # places that one worker tells of


class Outside:
    """Listens from `listen` to the end of the process, for there is no way to take an audit hook away again."""

    def __init__(self) -> None:
        places = [tempfile.gettempdir(), "/dev", "/proc", "~/.cache", "~/.nv", "~/.triton"]
        self._allowed = [_folder(place) for place in (*places, *filter(None, map(os.environ.get, CACHES)))]
        self._seen: set[str] = set()
        self._new: list[str] = []

    def allow(self, folder: str) -> None:
        """From now on it may write there."""
        self._allowed.append(_folder(folder))

    def listen(self) -> None:
        """Begin; what was written before is not told."""
        sys.addaudithook(self._hear)

    def take(self) -> list[str]:
        """Where it wrote since this was last asked; each place once, the first 20 of all."""
        new, self._new = self._new, []
        return new

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            if isinstance(arguments[2], int) and arguments[2] & WRITES:
                self._note((arguments[0],))
        elif event in CHANGES:
            self._note(arguments[place] for place in CHANGES[event])

    def _note(self, paths: Iterable[Any]) -> None:
        for path in paths:
            if isinstance(path, str | bytes | os.PathLike) and len(self._seen) < MOST:
                place = os.path.abspath(os.fsdecode(path))
                if place not in self._seen and not self._is_allowed(place):
                    self._seen.add(place)
                    self._new.append(place.encode("utf-8", "backslashreplace").decode())

    def _is_allowed(self, place: str) -> bool:
        if "__pycache__" in place:
            return True
        real = os.path.join(os.path.realpath(os.path.dirname(place)), os.path.basename(place)) + os.sep
        return any(real.startswith(folder) for folder in self._allowed)


def _folder(path: str) -> str:
    return os.path.join(os.path.realpath(os.path.expanduser(path)), "")
