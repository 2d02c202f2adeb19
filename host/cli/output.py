"""What is printed, and how: tables for people, JSON for machines, and nothing that steers the terminal.

rich is imported where something is drawn: `--json` and errors do without its tables.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from hooks import SensoriumError
from host.log import printable

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

Piece = str | tuple[str, str]  # plain, or with a style
PIPE_WIDTH = 1000
STYLES = {
    "done": "green", "ready": "green", "accepted": "green", "busy": "cyan", "running": "cyan", "queued": "yellow",
    "settling": "yellow", "taking": "yellow", "paused": "yellow", "loading": "yellow", "unloading": "yellow",
    "failed": "red", "refused": "red", "unknown": "red",
}  # fmt: skip


@cache
def console(*, stderr: bool = False) -> Console:
    """The terminal, or a page too wide to break lines where the output goes into a file or another program."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def show(*parts: RenderableType) -> None:
    """Print for people, broken at words where the terminal ends."""
    console().print(*parts)


def show_whole(*parts: Text) -> None:
    """Print lines whose paths must stay in one piece, to be copied: the terminal breaks them where it ends."""
    console().print(*parts, soft_wrap=True)


def show_json(value: BaseModel | Sequence[BaseModel] | dict[str, Any]) -> None:
    """Print for machines: the documented shapes, in ASCII."""
    print(json.dumps(_plain(value), indent=2))


def show_json_line(value: BaseModel) -> None:
    """One object a line, at once."""
    print(json.dumps(_plain(value)), flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def show_error(error: SensoriumError) -> None:
    """What is wrong in red and what to do, on standard error."""
    screen = console(stderr=True)
    screen.print(lines(f"Error: {error.message}", "bold red"), soft_wrap=True)
    if error.hint:
        screen.print(lines(error.hint), soft_wrap=True)


def text(*pieces: Piece) -> Text:
    """A line of pieces, each plain or with a style; whatever they hold, it stays one line."""
    from rich.text import Text

    pairs = [(piece, "") if isinstance(piece, str) else piece for piece in pieces]
    return Text.assemble(*((printable(words), style) for words, style in pairs))


def marked(snippet: str) -> Text:
    """A line whose words in brackets stand out."""
    return text(*((part, "bold" if part.startswith("[") else "") for part in re.split(r"(\[[^\]]*\])", snippet)))


def joined(pieces: Iterable[Piece], between: str) -> Text:
    """The pieces in one line, with something between each two."""
    return text(between).join([text(piece) for piece in pieces])


def lines(words: str, style: str = "") -> Text:
    """Several lines in one style; for the host's own words."""
    from rich.text import Text

    return Text("\n".join(printable(line) for line in words.split("\n")), style=style)


def state(name: str) -> Text:
    """A state in its colour."""
    return text((name, STYLES.get(name, "")))


def table(*headings: str, numbers: Iterable[str] = (), whole: Iterable[str] = ()) -> Table:
    """An empty table; columns of `numbers` are set right, those in `whole` are never broken."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    grid = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for heading in headings:
        grid.add_column(
            heading,
            justify="right" if heading in numbers else "left",
            no_wrap=heading in (*whole, *numbers),
            overflow="fold",
        )
    return grid


def pairs(rows: Iterable[tuple[str, Text | str]]) -> Table:
    """Names and what they stand for, in two columns."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(name, text(value) if isinstance(value, str) else value)
    return grid


def near(path: str) -> str:
    """A path as it is typed from here: relative where it lies below the current folder."""
    here = os.getcwd() + os.sep
    return path.removeprefix(here) or path


def ago(at: float, now: float | None = None) -> str:
    """How long ago, roughly; the date when it is more than a day."""
    seconds = (time.time() if now is None else now) - at
    if seconds < 24 * 3600:
        return f"{lasting(seconds)} ago"
    return datetime.fromtimestamp(at).strftime("%Y-%m-%d %H:%M")


def lasting(seconds: float) -> str:
    """A duration, roughly."""
    if seconds < 90:
        return f"{max(0.0, seconds):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.0f} h"


def moment(at: float, now: float | None = None) -> str:
    """The time of the day, with the date when it was not today."""
    then, today = datetime.fromtimestamp(at), datetime.fromtimestamp(time.time() if now is None else now).date()
    return then.strftime("%H:%M:%S" if then.date() == today else "%Y-%m-%d %H:%M")


def size(count: int) -> str:
    """Bytes for people."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 9.95 else f"{value:.1f} {unit}"


def plural(count: int, word: str) -> str:
    """`1 job`, `2 jobs`."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
