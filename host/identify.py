"""What a content is, told from its bytes; the name only decides between kinds of text."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import PurePath

import filetype

from hooks.events import Kind

HEAD = 8192
Identity = tuple[Kind, str]
Sniffer = Callable[[bytes, str], Identity | None]

# Tried before the library: these make up nearly all arrivals, and `filetype` asks some eighty matchers in turn.
_PREFIXES: tuple[tuple[bytes, Identity], ...] = (
    (b"\xff\xd8\xff", ("image", "image/jpeg")),
    (b"\x89PNG\r\n\x1a\n", ("image", "image/png")),
    (b"GIF87a", ("image", "image/gif")),
    (b"GIF89a", ("image", "image/gif")),
    (b"%PDF-", ("document", "application/pdf")),
)
_DOCUMENTS = (
    "application/pdf",
    "application/msword",
    "application/rtf",
    "application/epub+zip",
    "application/vnd.openxmlformats",
    "application/vnd.oasis.opendocument",
)
_DATA_NAMES = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_TEXT_NAMES = {
    ".md": "text/markdown",
    ".html": "text/html",
    ".htm": "text/html",
    ".srt": "application/x-subrip",
    ".vtt": "text/vtt",
}
# Possessive throughout: a hostile prologue is read once and never tried in other ways.
_SVG = re.compile(
    rb"\s*+(?:<\?xml[^>]*+>)?+(?:\s++|<!--(?>.*?-->))*+"
    rb"(?:<!DOCTYPE\s+svg[^>\[]*+(?:\[[^\]]*+\]\s*+)?+>)?+(?:\s++|<!--(?>.*?-->))*+<svg[\s>]",
    re.DOTALL,
)
_BOM = b"\xef\xbb\xbf"
_CONTROL = bytes(set(range(32)) - {7, 8, 9, 10, 12, 13, 27})
_NOT_CONTROL = bytes(set(range(256)) - set(_CONTROL))


def identify(head: bytes, name: str) -> Identity | None:
    """Kind and media type of a content by its first `HEAD` bytes; None when it is nothing that is known."""
    for prefix, identity in _PREFIXES:
        if head.startswith(prefix):
            return identity
    if _is_text(head):  # first: "BM" opens a bitmap as well as a sentence
        return _of_text(head.removeprefix(_BOM), PurePath(name).suffix.lower())
    guess = filetype.guess(head)
    return None if guess is None else _of_media_type(guess.mime)


def extension_of(name: str) -> str:
    """The extension under which the library keeps a content, so that other programs can open it; '' if it is odd."""
    suffix = PurePath(name).suffix.lower()
    return suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) <= 10 else ""


def _of_media_type(media_type: str) -> Identity | None:
    family = media_type.split("/")[0]
    if family in ("image", "audio", "video"):
        return (family, media_type)
    if media_type.startswith(_DOCUMENTS):
        return ("document", media_type)
    return None


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        cut = len(head) == HEAD and error.start > len(head) - 4 and "unexpected end" in error.reason
        if not cut:
            return False
    return not head.translate(None, delete=_NOT_CONTROL)


def _of_text(head: bytes, suffix: str) -> Identity:
    if head.startswith(b"{\\rtf"):
        return ("document", "application/rtf")
    if _SVG.match(head):
        return ("image", "image/svg+xml")
    if suffix in _TEXT_NAMES:
        return ("text", _TEXT_NAMES[suffix])
    if suffix in _DATA_NAMES:
        return ("data", _DATA_NAMES[suffix])
    if _looks_like_json(head):
        return ("data", "application/json")
    if _looks_like_csv(head):
        return ("data", "text/csv")
    return ("text", "text/plain")


def _looks_like_json(head: bytes) -> bool:
    stripped = head.strip()
    if not stripped.startswith((b"{", b"[")):
        return False
    try:
        json.loads(stripped)
    except RecursionError:
        return True
    except ValueError:
        return len(head) == HEAD and re.match(rb'^(\{\s*"|\[\s*[\[{"0-9])', stripped) is not None
    return True


def _looks_like_csv(head: bytes) -> bool:
    lines = head.decode("utf-8", "replace").splitlines()[:20]
    if len(lines) < 3:
        return False
    widths = {len(row) for row in csv.reader(lines[:-1])}
    return len(widths) == 1 and widths.pop() >= 3
