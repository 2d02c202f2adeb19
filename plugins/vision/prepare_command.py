"""The command `sensorium prepare`: how a picture looks before and after it is made ready for a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from pydantic import ValidationError

from hooks import BadInput, hookimpl

api = ">=1,<2"

MAX_MEGAPIXELS = 200
EXAMPLE = "As: --enhance lab --enhance contrast:dark=1.6"


@hookimpl
def register_commands(app: Any) -> None:
    app.command("prepare")(prepare)


@dataclass(frozen=True)
class _File:
    """What is needed of an event to open a picture."""

    path: Path
    media_type: str = ""

    def open(self) -> BinaryIO:
        return self.path.open("rb")


def prepare(
    file: Annotated[Path, typer.Argument(help="A picture.", metavar="FILE")],
    enhance: Annotated[
        list[str] | None,
        typer.Option(
            help="lab, contrast or exposure, in the order given; with numbers as contrast:dark=1.6,light=1.3."
        ),
    ] = None,
    longest_side: Annotated[int, typer.Option(help="The longer side in pixels, at most.", min=32, max=4096)] = 1024,
    out: Annotated[Path, typer.Option(help="The picture that shows both, side by side.", metavar="FILE")] = Path(
        "prepared.png"
    ),
) -> None:
    """Show a picture before and after it is made ready for a model."""
    from plugins.vision import pictures
    from plugins.vision import prepare as preparing

    if out.resolve() == file.resolve():
        raise BadInput(f"{out} is the picture itself.", "Name another file with --out.")
    steps = [_step(said) for said in enhance or ()]
    with pictures.opened(_File(file), MAX_MEGAPIXELS) as image:
        before = pictures.decoded(image, longest_side)
    made = preparing.prepared(before, preparing.Limits(longest_side=longest_side), steps)
    try:
        preparing.side_by_side(before, preparing.opened(made)).save(out)
    except (OSError, ValueError) as error:
        raise BadInput(f"{out} cannot be written: {error}.", "Name a file as NAME.png with --out.") from error
    typer.echo(f"{out}: before and after. {made.width} x {made.height} pixels, {len(made.content) / 1000:,.0f} kB.")


def _step(said: str) -> Any:
    """A step of enhancement by its name, with the numbers that stand after it. Raises BadInput."""
    from plugins.vision.enhance import BY_NAME

    name, _, numbers = said.partition(":")
    if name not in BY_NAME:
        raise BadInput(f"There is no enhancement {name!r}.", f"These are: {', '.join(BY_NAME)}. {EXAMPLE}.")
    pairs = [part.partition("=") for part in numbers.split(",") if part]
    try:
        return BY_NAME[name].model_validate({key.strip(): value for key, _, value in pairs})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = ", ".join(BY_NAME[name].model_fields)
        raise BadInput(f"{said}: {where}: {first['msg']}.", f"{name} knows {known}. {EXAMPLE}.") from error
