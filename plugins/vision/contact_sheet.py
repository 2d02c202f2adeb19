"""The contact sheet of a film: pictures in rows, each with its moment, what it shows, and what is said meanwhile."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
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
    def of(cls, timeline: Timeline, count: int, settings: TimelineSettings) -> Grid:
        """For so many pictures of this film."""
        width, columns = settings.sheet_width, min(settings.sheet_columns, max(count, 2))
        margin, gap = max(8, width // 64), max(6, width // 120)
        cell = (width - 2 * margin - (columns - 1) * gap) // columns
        shape = timeline.height / timeline.width if timeline.width and timeline.height else 9 / 16
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
    """One picture and the lines that stand with it."""

    moment: str
    caption: Sequence[str]
    said: Sequence[str]
    path: Path | None


def draw(name: str, timeline: Timeline, paths: Mapping[str, Path], settings: TimelineSettings) -> bytes:
    """The sheet as a JPEG; `paths` are the files of the frames by their events' ids."""
    frames = spread(timeline.frames, settings.sheet_pictures)
    grid = Grid.of(timeline, len(frames), settings)
    panels = _panels(grid, frames, timeline, paths)
    below = grid.height_below(max(len(panel.caption) + len(panel.said) for panel in panels))
    rows = math.ceil(len(frames) / grid.columns)
    height = grid.header + rows * (grid.picture + below + grid.gap) - grid.gap + grid.margin
    sheet = Image.new("RGB", (settings.sheet_width, height), GROUND)
    pen = ImageDraw.Draw(sheet)
    _header(pen, grid, name, timeline, len(frames))
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


def _header(pen: ImageDraw.ImageDraw, grid: Grid, name: str, timeline: Timeline, shown: int) -> None:
    large, y = round(grid.text * 1.7), grid.margin
    width = grid.columns * (grid.cell + grid.gap) - grid.gap
    pen.text((grid.margin, y), _fitting(name, _font(large), width), BRIGHT, _font(large))
    size = f"{timeline.width} x {timeline.height}" if timeline.width else ""
    pictures = f"{shown} of {len(timeline.frames)} pictures" if shown < len(timeline.frames) else f"{shown} pictures"
    facts = "   ".join(part for part in (clock(timeline.seconds), size, pictures, timeline.language) if part)
    pen.text((grid.margin, y + round(large * 1.35)), facts, DIM, _font(grid.text))


def _panels(grid: Grid, frames: Sequence[TimelineFrame], timeline: Timeline, paths: Mapping[str, Path]) -> list[Panel]:
    moments = [0.0, *(frame.moment for frame in frames[1:]), math.inf]
    said = [said_between(timeline, *span) for span in itertools.pairwise(moments)]
    return [
        Panel(
            clock(frame.moment),
            _wrapped(_shown(frame), _font(grid.text), grid.room, CAPTION_LINES),
            _wrapped(f"“{text}”" if text else "", _font(grid.small), grid.room, SPOKEN_LINES),
            paths.get(frame.event),
        )
        for frame, text in zip(frames, said, strict=True)
    ]


def _shown(frame: TimelineFrame) -> str:
    return frame.caption or (frame.labels[0].name if frame.labels else "")


def _draw_panel(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, place: tuple[int, int], grid: Grid, panel: Panel, below: int
) -> None:
    x, y = place
    pen.rounded_rectangle((x, y, x + grid.cell - 1, y + grid.picture + below - 1), grid.gap // 2, PANEL)
    picture = _picture(panel.path, (grid.cell, grid.picture))
    sheet.paste(picture, (x + (grid.cell - picture.width) // 2, y + (grid.picture - picture.height) // 2))
    pen.line((x, y + grid.picture, x + grid.cell - 1, y + grid.picture), EDGE)
    _badge(pen, (x, y + grid.picture), grid, panel.moment)
    left, top = x + (grid.cell - grid.room) // 2, y + grid.picture + round(grid.text * 0.5)
    lines = [(line, grid.text, BRIGHT) for line in panel.caption] + [(line, grid.small, PLAIN) for line in panel.said]
    for number, (line, size, colour) in enumerate(lines):
        pen.text((left, top + number * grid.line), line, colour, _font(size))


def _badge(pen: ImageDraw.ImageDraw, corner: tuple[int, int], grid: Grid, text: str) -> None:
    """The moment, on the lower left of the picture."""
    font, pad = _font(grid.small), round(grid.small * 0.4)
    width, height = round(pen.textlength(text, font)) + 2 * pad, round(grid.small * 1.2) + pad
    left, bottom = corner
    pen.rectangle((left, bottom - height, left + width, bottom - 1), GROUND)
    pen.text((left + pad, bottom - height + pad // 2), text, ACCENT, font)


def _picture(path: Path | None, size: tuple[int, int]) -> Image.Image:
    """The picture, as large as fits; an empty one where it cannot be read any more."""
    try:
        if path is not None:
            with Image.open(path, formats=("JPEG",)) as image:
                image.draft("RGB", size)
                picture = image.convert("RGB")
                picture.thumbnail(size, Image.Resampling.LANCZOS)
                return picture
    except (OSError, UnidentifiedImageError):
        pass
    return Image.new("RGB", size, EDGE)


@cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _fitting(text: str, font: Font, room: int) -> str:
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
        lines.append(_fitting(" ".join(words[:taken]), font, room))
        words = words[taken:]
    return [*lines, _fitting(" ".join(words), font, room)] if words else lines
