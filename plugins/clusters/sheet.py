"""The contact sheet of a cluster: its most typical pictures. Imports Pillow: for workers only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from PIL import Image

from hooks import BadInput, Task
from plugins.vision import pictures
from plugins.vision.contact_sheet import Grid, Panel, caption_lines, sheet_of

if TYPE_CHECKING:
    from plugins.clusters.clusters import ClustersSettings

MEGAPIXELS = 80.0


@dataclass(frozen=True, slots=True)
class Picture:
    """As much of an event as opening its picture needs."""

    path: Path
    media_type: str = ""

    def open(self) -> BinaryIO:
        """The content, from its beginning."""
        return self.path.open("rb")


def draw(task: Task, settings: ClustersSettings) -> bytes:
    """The sheet as a JPEG: of the task's files the first ones, with the task's `captions` below them."""
    files = task.files[: settings.sheet_pictures]
    captions = task.values.get("captions")
    lines = [str(caption) for caption in captions] if isinstance(captions, list) else []
    lines += [""] * (len(files) - len(lines))
    grid = Grid.of(settings.sheet_width, settings.sheet_columns, len(files), 0.8)
    panels = [
        Panel("", caption_lines(line, grid), (), partial(_picture, Picture(path)))
        for path, line in zip(files, lines, strict=False)
    ]
    if not panels:
        raise BadInput("A contact sheet needs pictures.")
    title, facts = (str(task.values.get(name, "")) for name in ("title", "facts"))
    return sheet_of(title, facts, panels, grid, settings.sheet_width)


def _picture(source: Picture, size: tuple[int, int]) -> Image.Image | None:
    try:
        with pictures.opened(source, MEGAPIXELS) as image:
            picture = pictures.decoded(image, 2 * min(size))
    except BadInput:
        return None
    picture.thumbnail(size, Image.Resampling.LANCZOS)
    return picture
