"""`sensorium search`: files by what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, Limit, configuration, file_query
from host.cli.output import near, show, show_json, table, text
from host.cli.service import ask
from host.cli.waiting import waiting
from host.errors import UsageError


def search(
    words: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]", help="What to look for, in words.")] = None,
    like: Annotated[Path | None, typer.Option("--like", metavar="IMAGE", help="Look for pictures like this.")] = None,
    limit: Limit = 10,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Find files by a text, or by a picture that is like them."""
    wanted = " ".join(words or [])
    if bool(wanted.strip()) == (like is not None):
        raise UsageError("Say what to search for: a text, or a picture with --like.")
    chosen = configuration(config, data)
    picture = None if like is None else file_query(str(like))
    with waiting("Searching"):
        hits = ask(
            chosen, lambda service: service.search(wanted if like is None else None, picture, limit), writes=True
        )
    if as_json:
        show_json(hits)
        return
    if not hits:
        show(text("Nothing was found. Only files whose embedding is done can be found: see `sensorium status`."))
        return
    grid = table("Score", "File", "Content", "Event", numbers=["Score"], whole=["Event"])
    for hit in hits:
        grid.add_row(f"{hit.score:.3f}", text(hit.origin), text((near(hit.path), "dim")), text((hit.event[:8], "dim")))
    show(grid)
