"""On which line each key of a TOML text stands: tomllib says what a file holds, not where."""

from __future__ import annotations

import re
import tomllib

Place = tuple[str | int, ...]

BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
SPACE = re.compile(r"[ \t]*")
KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:\\.|[^"\\])*"|'[^']*'""")
STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}(?!")' r"|'''.*?'{3,5}(?!')" r'|"(?:\\.|[^"\\])*"' r"|'[^']*'", re.DOTALL)
SCALAR = re.compile(r"[^,\]}\n#]*")


def key_lines(text: str) -> dict[Place, int]:
    """The line of each table, key and list item; `text` must be valid TOML.

    `("inbox", 1, "mode")` is the key `mode` of the second `[[inbox]]`.
    """
    return _Scanner(text).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._table: Place = ()
        self._last_item: dict[Place, int] = {}
        self._lines: dict[Place, int] = {}

    def scan(self) -> dict[Place, int]:
        self._take(BLANK)
        while self._at < len(self._text):
            if self._peek("["):
                self._header()
            else:
                self._pair(self._table)
            self._take(BLANK)
        return self._lines

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self._text, self._at)
        found = match[0] if match else ""
        self._at += len(found)
        return found

    def _peek(self, start: str) -> bool:
        return self._text.startswith(start, self._at)

    def _mark(self, place: Place, at: int | None = None) -> None:
        self._lines.setdefault(place, self._text.count("\n", 0, self._at if at is None else at) + 1)

    def _dotted_key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self._take(SPACE)
            part = self._take(KEY)
            parts.append(tomllib.loads(f"key = {part}")["key"] if part[:1] in ("'", '"') else part)
            self._take(SPACE)
            if not self._peek("."):
                return parts
            self._at += 1

    def _header(self) -> None:
        """`[a.b]` and `[[a.b]]`: a name on the way that is a list stands for its last item."""
        brackets = 2 if self._peek("[[") else 1
        self._at += brackets
        *way, last = self._dotted_key()
        place: Place = ()
        for part in way:
            self._mark((*place, part))
            place = self._current((*place, part))
        place = (*place, last)
        self._mark(place)
        if brackets == 2:
            self._last_item[place] = self._last_item.get(place, -1) + 1
        self._table = self._current(place)
        self._mark(self._table)
        self._at += brackets

    def _current(self, place: Place) -> Place:
        return (*place, self._last_item[place]) if place in self._last_item else place

    def _pair(self, table: Place) -> None:
        self._take(SPACE)
        start = self._at
        place = table
        for part in self._dotted_key():
            place = (*place, part)
            self._mark(place, start)
        self._at += 1  # the equals sign
        self._take(SPACE)
        self._value(place)

    def _value(self, place: Place) -> None:
        if self._peek("["):
            self._list(place)
        elif self._peek("{"):
            self._inline_table(place)
        elif self._peek('"') or self._peek("'"):
            self._take(STRING)
        else:
            self._take(SCALAR)

    def _list(self, place: Place) -> None:
        self._at += 1
        self._take(BLANK)
        number = 0
        while not self._peek("]"):
            self._mark((*place, number))
            self._value((*place, number))
            number += 1
            self._separator()
        self._at += 1

    def _inline_table(self, place: Place) -> None:
        self._at += 1
        self._take(BLANK)
        while not self._peek("}"):
            self._pair(place)
            self._separator()
        self._at += 1

    def _separator(self) -> None:
        self._take(BLANK)
        if self._peek(","):
            self._at += 1
            self._take(BLANK)
