"""The code blocks of docs/ and README.md, each with the marker that stands before it.

A marker is an HTML comment on the line before the block; it says how the block is run, or why it is not:

    <!-- not run: REASON -->          nothing is done; the reason is for whoever reads the page's source
    <!-- run by: tests/….py -->       that file of tests runs it, and names the page
    <!-- file: NAME -->              a file of the page's example: tests among them run beside the others
    <!-- json: NAME -->               compared with the real output of this name
    <!-- toml: pyproject -->          a package's own file, not the host's; `toml: REASON` is read, but opens no plugin
    <!-- ends with: 0 1 -->           a shell block may end with one of these
    <!-- background: COMMAND -->      the line that begins with this goes on while the others are run
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(
    r"^(?:<!-- (?P<marker>[^\n]*?) -->\n)?(?P<indent> *)```(?P<language>[^\n]*)\n(?P<code>.*?)^(?P=indent)```$",
    flags=re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block; `how` and `what` are the two sides of its marker, empty without one."""

    page: str
    line: int
    language: str
    code: str
    how: str = ""
    what: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page whose blocks are run."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def all_blocks() -> list[Block]:
    """Every block of every page."""
    return [block for page in pages() for block in blocks_of(page.relative_to(ROOT).as_posix(), page.read_text())]


def blocks_of(page: str, text: str) -> list[Block]:
    """The blocks of one page. Raises ValueError where a fence is left open."""
    found = list(BLOCK.finditer(text))
    if len(re.findall(r"^ *```", text, flags=re.MULTILINE)) != 2 * len(found):
        raise ValueError(f"{page}: a block does not end")
    return [_block(page, text, match) for match in found]


def _block(page: str, text: str, match: re.Match[str]) -> Block:
    how, _, what = (match["marker"] or "").partition(":")
    line = text.count("\n", 0, match.start("code"))
    return Block(page, line, match["language"].strip(), match["code"], how.strip(), what.strip())
