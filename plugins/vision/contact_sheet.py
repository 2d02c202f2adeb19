"""Contact sheets: pictures in rows. Of a film, each with its moment, what it shows, and what is said meanwhile."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from hooks import Timeline, TimelineFrame
from plugins.vision.timeline import TimelineSettings, clock, said_between

GROUND, PANEL, EDGE = (24, 25, 29), (38, 40, 46), (62, 65, 74)
BRIGHT, PLAIN, DIM = (244, 244, 246), (196, 199, 207), (140, 144, 155)
ACCENT = (255, 200, 87)
QUALITY = 88
SPOKEN_LINES = 2
CAPTION_LINES = 2
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Grid:
    """Sizes in pixels, all of them from the width of the sheet."""

    columns: int
    cell: int
    picture: int
    text: int
    small: int
    margin: int
    gap: int
    header: int

    @classmethod
    def of(cls, width: int, columns: int, count: int, shape: float) -> Grid:
        """For so many pictures, whose height is `shape` times their width."""
        columns = min(columns, max(count, 2))
        margin, gap = max(8, width // 64), max(6, width // 120)
        cell = (width - 2 * margin - (columns - 1) * gap) // columns
        text = max(10, min(26, cell // 18))
        picture = round(cell * min(1.2, max(0.4, shape)))
        return cls(columns, cell, picture, text, max(9, round(text * 0.86)), margin, gap, 5 * text + margin)

    @property
    def line(self) -> int:
        """Height of a line of text."""
        return round(self.text * 1.35)

    @property
    def room(self) -> int:
        """Width of a line of text below a picture."""
        return self.cell - 2 * round(self.text * 0.5)

    def height_below(self, lines: int) -> int:
        """Height of so many lines below a picture."""
        return self.line * lines + round(self.text * 0.9)


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture and the lines that stand with it; `picture` draws it in a size, or nothing.

    `badge` stands on it: the moment of a film's picture.
    """

    badge: str
    caption: Sequence[str]
    said: Sequence[str]
    picture: Callable[[tuple[int, int]], Image.Image | None]


def draw(name: str, timeline: Timeline, paths: Mapping[str, Path], settings: TimelineSettings) -> bytes:
    """A film's sheet as a JPEG; `paths` are the files of the frames by their events' ids."""
    frames = spread(timeline.frames, settings.sheet_pictures)
    shape = timeline.height / timeline.width if timeline.width and timeline.height else 9 / 16
    grid = Grid.of(settings.sheet_width, settings.sheet_columns, len(frames), shape)
    panels = _panels(grid, frames, timeline, paths)
    return sheet_of(name, _facts(timeline, len(frames)), panels, grid, settings.sheet_width)


def sheet_of(title: str, facts: str, panels: Sequence[Panel], grid: Grid, width: int) -> bytes:
    """A sheet as a JPEG: a title, a line of facts, and panels in rows."""
    below = grid.height_below(max(len(panel.caption) + len(panel.said) for panel in panels))
    rows = math.ceil(len(panels) / grid.columns)
    height = grid.header + rows * (grid.picture + below + grid.gap) - grid.gap + grid.margin
    sheet = Image.new("RGB", (width, height), GROUND)
    pen = ImageDraw.Draw(sheet)
    _header(pen, grid, title, facts)
    for number, panel in enumerate(panels):
        x = grid.margin + number % grid.columns * (grid.cell + grid.gap)
        y = grid.header + number // grid.columns * (grid.picture + below + grid.gap)
        _draw_panel(sheet, pen, (x, y), grid, panel, below)
    file = BytesIO()
    sheet.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def spread(frames: Sequence[TimelineFrame], most: int) -> list[TimelineFrame]:
    """At most so many of the frames, evenly spread, the first and the last among them."""
    if len(frames) <= most:
        return list(frames)
    if most == 1:
        return [frames[0]]
    return [frames[round(number * (len(frames) - 1) / (most - 1))] for number in range(most)]


def _facts(timeline: Timeline, shown: int) -> str:
    size = f"{timeline.width} x {timeline.height}" if timeline.width else ""
    pictures = f"{shown} of {len(timeline.frames)} pictures" if shown < len(timeline.frames) else f"{shown} pictures"
    return "   ".join(part for part in (clock(timeline.seconds), size, pictures, timeline.language) if part)


def _header(pen: ImageDraw.ImageDraw, grid: Grid, title: str, facts: str) -> None:
    large, y = round(grid.text * 1.7), grid.margin
    width = grid.columns * (grid.cell + grid.gap) - grid.gap
    pen.text((grid.margin, y), fitting(title, _font(large), width), BRIGHT, _font(large))
    pen.text((grid.margin, y + round(large * 1.35)), fitting(facts, _font(grid.text), width), DIM, _font(grid.text))


def _panels(grid: Grid, frames: Sequence[TimelineFrame], timeline: Timeline, paths: Mapping[str, Path]) -> list[Panel]:
    moments = [0.0, *(frame.moment for frame in frames[1:]), math.inf]
    said = [said_between(timeline, *span) for span in itertools.pairwise(moments)]
    return [
        Panel(
            clock(frame.moment),
            caption_lines(_shown(frame), grid),
            _wrapped(f"“{text}”" if text else "", _font(grid.small), grid.room, SPOKEN_LINES),
            partial(_frame, paths.get(frame.event)),
        )
        for frame, text in zip(frames, said, strict=True)
    ]


def caption_lines(text: str, grid: Grid) -> list[str]:
    """What a picture shows, in the lines that there are for it."""
    return _wrapped(text, _font(grid.text), grid.room, CAPTION_LINES)


def _shown(frame: TimelineFrame) -> str:
    return frame.caption or (frame.labels[0].name if frame.labels else "")


def _draw_panel(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, place: tuple[int, int], grid: Grid, panel: Panel, below: int
) -> None:
    x, y = place
    pen.rounded_rectangle((x, y, x + grid.cell - 1, y + grid.picture + below - 1), grid.gap // 2, PANEL)
    size = (grid.cell, grid.picture)
    picture = panel.picture(size) or Image.new("RGB", size, EDGE)
    sheet.paste(picture, (x + (grid.cell - picture.width) // 2, y + (grid.picture - picture.height) // 2))
    pen.line((x, y + grid.picture, x + grid.cell - 1, y + grid.picture), EDGE)
    if panel.badge:
        _badge(pen, (x, y + grid.picture), grid, panel.badge)
    left, top = x + (grid.cell - grid.room) // 2, y + grid.picture + round(grid.text * 0.5)
    lines = [(line, grid.text, BRIGHT) for line in panel.caption] + [(line, grid.small, PLAIN) for line in panel.said]
    for number, (line, size, colour) in enumerate(lines):
        pen.text((left, top + number * grid.line), line, colour, _font(size))


def _badge(pen: ImageDraw.ImageDraw, corner: tuple[int, int], grid: Grid, text: str) -> None:
    """Words on the lower left of the picture."""
    font, pad = _font(grid.small), round(grid.small * 0.4)
    width, height = round(pen.textlength(text, font)) + 2 * pad, round(grid.small * 1.2) + pad
    left, bottom = corner
    pen.rectangle((left, bottom - height, left + width, bottom - 1), GROUND)
    pen.text((left + pad, bottom - height + pad // 2), text, ACCENT, font)


def _frame(path: Path | None, size: tuple[int, int]) -> Image.Image | None:
    """The picture of a film, as large as fits; nothing where it cannot be read any more."""
    try:
        if path is not None:
            with Image.open(path, formats=("JPEG",)) as image:
                image.draft("RGB", size)
                picture = image.convert("RGB")
                picture.thumbnail(size, Image.Resampling.LANCZOS)
                return picture
    except (OSError, UnidentifiedImageError):
        pass
    return None


@cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def fitting(text: str, font: Font, room: int) -> str:
    """As much of a text as there is room for, in one line."""
    line = " ".join(text.split())[:500]
    if font.getlength(line) <= room:
        return line
    while line and font.getlength(line + "...") > room:
        line = line[:-1]
    return line.rstrip() + "..." if line else ""


def _wrapped(text: str, font: Font, room: int, most: int) -> list[str]:
    """A text in lines that fit; the last one says by dots when there is more."""
    lines: list[str] = []
    words = text.split()[:200]
    while words and len(lines) < most - 1:
        taken = 1
        while taken < len(words) and font.getlength(" ".join(words[: taken + 1])) <= room:
            taken += 1
        lines.append(fitting(" ".join(words[:taken]), font, room))
        words = words[taken:]
    return [*lines, fitting(" ".join(words), font, room)] if words else lines
