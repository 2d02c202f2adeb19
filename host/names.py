"""File names as text that JSON, SQLite and people can hold, and back again."""

from __future__ import annotations

import os
import re

_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")


def to_text(name: str) -> str:
    r"""A file name as valid Unicode. Bytes that are not UTF-8 become `\xHH`; `from_text` gives the very name back."""
    raw = os.fsencode(name)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return raw.replace(b"\\", b"\\x5c").decode("utf-8", "backslashreplace")
    return text if not _ESCAPE.search(raw) else text.replace("\\", "\\x5c")


def from_text(text: str) -> str:
    """The file name that `to_text` was given, as the operating system's functions take it."""
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), text.encode("utf-8", "surrogateescape")))


def clock(seconds: float) -> str:
    """A moment in a recording or film, as players show it: 00:12:31."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"


def whereabouts(origin: str, moment: float | None) -> str:
    """Where something came from, and where in it it begins."""
    return origin if moment is None else f"{origin} {clock(moment)}"


def whole(text: str) -> str:
    """Text in which half characters (a plugin may quote a file name) are written out, so that it can go anywhere."""
    return text.encode("utf-8", "backslashreplace").decode()


def is_text(name: str) -> bool:
    """Whether a name is valid Unicode as it stands."""
    return to_text(name) == name
