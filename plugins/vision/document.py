"""Documents: the text of a PDF, and pictures of the pages that have none; pages of a TIFF; drawings in SVG.

What is taken out goes on as events of their own: the text (role "text", a form feed after each page) to plugins that
take texts, the pictures (role "page", `metadata["page"]` counts from 1) to those that take pictures.
`pages` gathers all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from hooks import (
    BadInput,
    Context,
    Derived,
    Document,
    DocumentInfo,
    Event,
    Failure,
    Image,
    ModelSpec,
    ModelUnavailable,
    Result,
    hookimpl,
)

# Nobody starts a worker for pictures that have one page and no shapes.
api = ">=1,<2"
media_types = ("application/*", "image/tiff", "image/svg+xml")


class DocumentSettings(BaseModel):
    """What to take out of a document, and what is too much."""

    model_config = ConfigDict(extra="forbid")

    pictures: Literal["scanned", "all", "none"] = Field(
        "scanned", description="Which pages become pictures: those without text of their own, all, or none."
    )
    max_pages: int = Field(1000, ge=1, le=100_000, description="How many pages are read; the rest is left out.")
    min_characters: int = Field(16, ge=0, description="A page with fewer is taken for a scanned one.")
    dots_per_inch: int = Field(150, ge=36, le=600, description="How finely a page becomes a picture.")
    page_side: int = Field(2000, ge=64, le=8192, description="The longer side of such a picture in pixels, at most.")
    max_megabytes: int = Field(500, ge=1, description="Larger documents are refused.")
    max_megapixels: float = Field(80, gt=0, description="Pages of a TIFF with more are refused by their header.")
    time_limit: float = Field(60, gt=0, description="Seconds for one page before the document is given up.")
    keep_alive: float = Field(60, ge=0, description="Seconds without work until the worker ends.")


@hookimpl
def settings_class() -> type[BaseModel]:
    return DocumentSettings


@hookimpl
def model_spec(settings: DocumentSettings) -> ModelSpec:
    return ModelSpec(
        name="document",
        device="none",
        memory_mb=200 + round(8 * settings.max_megapixels),
        keep_alive=settings.keep_alive,
        time_limit=settings.time_limit,
    )


@hookimpl
def on_document(
    events: list[Document], settings: DocumentSettings, context: Context
) -> Iterator[Result | Derived | Failure]:
    for event in events:
        try:
            yield from _of_pdf(event, settings, context)
        except BadInput as error:
            yield event.failure(str(error))


@hookimpl
def on_image(events: list[Image], settings: DocumentSettings, context: Context) -> Iterator[Result | Derived | Failure]:
    for event in events:
        try:
            if event.media_type == "image/tiff" and event.role != "page":
                yield from _of_tiff(event, settings, context)
            elif event.media_type == "image/svg+xml":
                yield from _of_svg(event, settings, context)
        except BadInput as error:
            yield event.failure(str(error))


def _of_pdf(event: Event, settings: DocumentSettings, context: Context) -> Iterator[Result | Derived]:
    if event.media_type != "application/pdf":
        raise BadInput(f"Documents of type {event.media_type} are not opened here.", "Export it as PDF.")
    if event.size > settings.max_megabytes * 1_000_000:
        raise BadInput(
            f"The document has {event.size / 1e6:,.0f} MB; at most {settings.max_megabytes} are read.",
            "Raise max_megabytes in [plugins.document] if such documents are expected.",
        )
    try:
        from plugins.vision import pdf
    except ImportError as error:
        raise ModelUnavailable(
            f"Documents need the Python package {error.name}.", "Install it: pip install 'sensorium[documents]'."
        ) from error
    folder = _folder(event, context)
    with pdf.opened(event) as document:
        count = min(len(document), settings.max_pages)
        problems = _left_out(len(document), count)
        written = 0
        with (folder / "text.txt").open("w", encoding="utf-8") as text:
            for number in range(1, count + 1):
                page = pdf.text_of(document, number, problems)
                text.write(page + "\f")
                has_text = len("".join(page.split())) >= settings.min_characters
                written += has_text
                if settings.pictures == "all" or (settings.pictures == "scanned" and not has_text):
                    path = folder / f"page-{number}.png"
                    if pdf.draw(document, number, path, settings, problems):
                        yield event.derived(path, "page", name=f"{_stem(event)} {number}.png", page=number)
                context.progress(event, number / count, f"page {number} of {count}")
        if written:
            yield event.derived(folder / "text.txt", "text", name=f"{_stem(event)}.txt")
        facts = pdf.facts(document)
    yield event.result(DocumentInfo(format="PDF", pages_with_text=written, problems=tuple(problems), **facts))


def _of_tiff(event: Event, settings: DocumentSettings, context: Context) -> Iterator[Result | Derived]:
    """Each page but the first, which is what plugins for pictures see in the file itself."""
    from plugins.vision import pictures

    with pictures.opened(event, settings.max_megapixels) as image:
        count = pictures.frame_count(image, settings.max_pages + 1)
        if count == 1:
            return
        problems = _left_out(count, min(count, settings.max_pages), more=count > settings.max_pages)
        folder = _folder(event, context)
        for number in range(2, min(count, settings.max_pages) + 1):
            path = folder / f"page-{number}.png"
            pictures.page(image, number - 1, settings.page_side, settings.max_megapixels).save(path)
            yield event.derived(path, "page", name=f"{_stem(event)} {number}.png", page=number)
            context.progress(event, number / count, f"page {number}")
    yield event.result(DocumentInfo(format="TIFF", pages=count, problems=tuple(problems)))


def _of_svg(event: Event, settings: DocumentSettings, context: Context) -> Iterator[Derived]:
    from plugins.vision import svg

    path = _folder(event, context) / "drawing.png"
    svg.draw(event, path, settings)
    yield event.derived(path, "page", name=f"{_stem(event)}.png", page=1)


def _folder(event: Event, context: Context) -> Path:
    """An empty folder for what is taken out; what an earlier attempt left in it goes."""
    folder = context.scratch / event.id
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.iterdir():
        with suppress(OSError):
            left.unlink()
    return folder


def _stem(event: Event) -> str:
    from plugins.vision.video import stem_of

    return stem_of(event.name)


def _left_out(count: int, read: int, *, more: bool = False) -> list[str]:
    if read == count:
        return []
    there = f"more than {read}" if more else str(count)
    return [f"It has {there} pages; the first {read} were read. max_pages in [plugins.document] says how many."]
