"""A document as one result: what is written on its pages, wherever it was read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hooks import DocumentText, Event, Finished, ModelSpec, PageText, Result, hookimpl

api = ">=1,<2"

LARGEST_TEXT = 64 * 1024 * 1024


@hookimpl
def model_spec() -> ModelSpec:
    return ModelSpec(name="pages", device="none", keep_alive=60, memory_mb=300)


@hookimpl
def on_finished(event: Event, results: list[Finished]) -> Iterator[Result]:
    if any(part.event.role in ("page", "text") for part in results[1:]) and event.kind in ("document", "image"):
        yield event.result(DocumentText.of(pages_of(results)))


def pages_of(family: Sequence[Finished]) -> list[PageText]:
    """The text of each page: the document's own where it has one, else what was read in the page's picture."""
    whole, *parts = family
    read = {number: text for part in parts if (number := _page(part)) and (text := _in_picture(part))}
    if whole.event.kind == "image" and (first := _in_picture(whole)):
        read.setdefault(1, first)
    pages = {number: PageText(page=number, text=text, source="picture") for number, text in read.items()}
    own = next((_own_text(part) for part in parts if part.event.role == "text"), [])
    for number, text in enumerate(own, 1):
        if text and len(text) >= len(read.get(number, "")):
            pages[number] = PageText(page=number, text=text, source="document")
    return [pages[number] for number in sorted(pages)]


def _page(part: Finished) -> int:
    number = part.event.metadata.get("page")
    return number if part.event.role == "page" and isinstance(number, int) else 0


def _in_picture(part: Finished) -> str:
    return next((str(found.data.get("text", "")) for found in part.found if found.type == "picture_text"), "")


def _own_text(part: Finished) -> list[str]:
    with part.event.open() as file:
        text = file.read(LARGEST_TEXT).decode("utf-8", "replace")
    return [page.strip() for page in text.split("\f")]
