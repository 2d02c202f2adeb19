"""PDF through pypdfium2: every fault of the content becomes `BadInput`, or a problem of one page.

This module imports the library, so only workers import it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pypdfium2

from hooks import BadInput, Event

if TYPE_CHECKING:
    from plugins.vision.document import DocumentSettings

POINTS_PER_INCH = 72
LONGEST_PAGE = 1_000_000  # characters; what is longer is no page that somebody reads
LONGEST_FACT = 500


@contextmanager
def opened(event: Event) -> Iterator[pypdfium2.PdfDocument]:
    """The document; BadInput when it is damaged, encrypted or without pages."""
    try:
        document = pypdfium2.PdfDocument(event.path)
    except pypdfium2.PdfiumError as error:
        raise _unreadable(str(error)) from error
    except FileNotFoundError as error:
        raise BadInput("The content is no longer there.", "Hand the file in again.") from error
    try:
        if not len(document):
            raise BadInput("The PDF has no pages.", "The file is damaged or incomplete: send a good copy.")
        yield document
    finally:
        document.close()


def facts(document: pypdfium2.PdfDocument) -> dict[str, Any]:
    """How many pages it has, and what it says of itself."""
    said = document.get_metadata_dict(skip_empty=True)
    return {"pages": len(document), **{name: said.get(name.title(), "")[:LONGEST_FACT] for name in ("title", "author")}}


def text_of(document: pypdfium2.PdfDocument, number: int, problems: list[str]) -> str:
    """The text layer of a page, counted from 1; empty where it has none or cannot be read."""
    try:
        page = document[number - 1]
        text = page.get_textpage().get_text_bounded(errors="replace")
        page.close()
    except pypdfium2.PdfiumError as error:
        problems.append(f"Page {number} cannot be read: {error}.")
        return ""
    return text[:LONGEST_PAGE].replace("\r\n", "\n").replace("\f", "\n").replace("\0", "")


def draw(
    document: pypdfium2.PdfDocument, number: int, path: Path, settings: DocumentSettings, problems: list[str]
) -> bool:
    """Write a page as a PNG; whether that went well."""
    try:
        page = document[number - 1]
        scale = min(settings.dots_per_inch / POINTS_PER_INCH, settings.page_side / max(*page.get_size(), 1))
        bitmap = page.render(scale=scale)
        bitmap.to_pil().convert("RGB").save(path)
        bitmap.close()
        page.close()
    except (pypdfium2.PdfiumError, ValueError) as error:
        problems.append(f"Page {number} cannot be drawn: {error}.")
        return False
    return True


def _unreadable(said: str) -> BadInput:
    if "password" in said.lower():
        return BadInput("The PDF is protected by a password.", "Save it without one, and hand it in again.")
    return BadInput(f"The PDF cannot be opened: {said.rstrip('.')}.", "The file is damaged: send a good copy.")
