"""`sensorium ask`: a question to everything that is known, answered as it is written, with sources and times."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, configuration, file_query
from host.cli.output import lines, show, show_json, text
from host.cli.service import ask as asked
from host.errors import HostError, NotFound, UsageError, WorkFailed
from host.log import printable
from host.names import whereabouts

if TYPE_CHECKING:
    from rich.text import Text

    from host.views import AnswerView, PassageView, Service

EXCERPT = 100  # characters of a source that are shown


def ask(
    question: Annotated[list[str], typer.Argument(metavar="QUESTION", help="What to ask, in words.")],
    about: Annotated[
        list[Path] | None, typer.Option("--about", metavar="FILE", help="Only of this file; may be said again.")
    ] = None,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Ask a question; a language model answers from what was said, written and seen, and says where and when."""
    wanted = " ".join(question)
    if not wanted.strip():
        raise UsageError("Say what to ask.")
    files = [file_query(str(path)) for path in about or ()]

    async def answer(service: Service) -> AnswerView:
        async for part in service.ask(wanted, files):
            if part.piece and not as_json:
                _write(part.piece)
            if part.answer is not None:
                return part.answer
        raise HostError("The host gave no answer.", "Look into logs/host.log of its data folder.")

    found = asked(configuration(config, data), answer, writes=True, else_reads=True)
    if as_json:
        show_json(found)
    else:
        _show(found)
    if found.state != "answered":
        raise typer.Exit((NotFound if found.state == "nothing found" else WorkFailed).exit_code)


def _write(piece: str) -> None:
    """A piece of the answer at once; nothing in it steers the terminal."""
    sys.stdout.write("\n".join(printable(line) for line in piece.split("\n")))
    sys.stdout.flush()


def _show(found: AnswerView) -> None:
    if found.state == "answered":
        show(text(""))
    else:
        show(lines(found.problem, "yellow"))
        show(lines(found.advice))
    relied_on = [one for one in found.sources if one.cited] or found.sources
    if relied_on:
        show(text(("Sources" if found.state == "answered" else "Found", "dim")))
    for one in relied_on:
        show(_line(one))


def _line(source: PassageView) -> Text:
    excerpt = " ".join(source.text.split())
    if len(excerpt) > EXCERPT:
        excerpt = excerpt[:EXCERPT].rsplit(" ", 1)[0] + " …"
    return text((f"[{source.number}] ", "bold"), whereabouts(source.origin, source.start), "  ", (excerpt, "dim"))
