"""`sensorium search`: files by what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, Limit, configuration, file_query
from host.cli.output import marked, near, show, show_json, table, text
from host.cli.service import ask
from host.cli.waiting import waiting
from host.errors import UsageError
from host.names import whereabouts

if TYPE_CHECKING:
    from host.views import Hit

NOTHING = "Nothing was found. Only files whose jobs are done can be found: see `sensorium status`."


def search(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]",
            help="What to look for, in words; those in quotation marks stand together, star* begins a word.",
        ),
    ] = None,
    like: Annotated[Path | None, typer.Option("--like", metavar="IMAGE", help="Look for pictures like this.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="Only files of this kind.")] = None,
    by_words: Annotated[
        bool, typer.Option("--words", help="Only by words that were said or written; asks no model.")
    ] = False,
    limit: Limit = 10,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Find files, and moments of recordings and films, by a text, or by a picture that is like them."""
    wanted = " ".join(words or [])
    if bool(wanted.strip()) == (like is not None) or (by_words and like is not None):
        raise UsageError("Say what to search for: a text, or a picture with --like.")
    chosen = configuration(config, data)
    picture = None if like is None else file_query(str(like))
    with waiting("Searching"):
        hits = ask(
            chosen,
            lambda service: service.search(wanted if like is None else None, picture, limit, kind, by_words),
            writes=not by_words,
            else_reads=True,
        )
    if as_json:
        show_json(hits)
    elif hits:
        _show(hits)
    else:
        show(text(NOTHING))


def _show(hits: list[Hit]) -> None:
    has_words = any(hit.snippet for hit in hits)
    grid = table("Score", "File", *["Words"] * has_words, "Content", "Event", numbers=["Score"], whole=["Event"])
    for hit in hits:
        cells = [text(f"{hit.score:.3f}"), text(whereabouts(hit.origin, hit.start)), *[marked(hit.snippet)] * has_words]
        grid.add_row(*cells, text((near(hit.path), "dim")), text((hit.event[:8], "dim")))
    show(grid)
