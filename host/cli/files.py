"""`sensorium submit` and `sensorium requeue`: work that is asked for by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, configuration, file_query, queries
from host.cli.output import near, plural, show, show_json, state, table, text
from host.cli.service import ask
from host.cli.waiting import waiting
from host.errors import NotFound, WorkFailed
from host.views import Service


def submit(
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files, wherever they lie; they stay there.")],
    wait: Annotated[bool, typer.Option("--wait", help="Return when the work on them is finished.")] = False,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Take in files by copy, wherever they lie."""
    chosen = configuration(config, data)
    with waiting(f"Working on {plural(len(paths), 'file')}" if wait else "Taking in"):
        found = ask(chosen, lambda service: service.submit([file_query(path) for path in paths], wait), writes=True)
    if as_json:
        show_json(found)
    else:
        grid = table("File", "State", "Event", "", whole=["State", "Event"])
        for one in found:
            grid.add_row(text(near(one.path)), state(one.state), text((one.event or "", "dim")), text(one.reason))
        show(grid)
    bad = sum(one.state in ("refused", "failed") for one in found)
    if bad:
        raise WorkFailed(f"{bad} of {plural(len(found), 'file')} could not be worked on.", "The reasons are above.")


def requeue(
    which: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH|ID]...", help="Files or events; all failed jobs without any.")
    ] = None,
    plugin: Annotated[str | None, typer.Option("--plugin", metavar="NAME", help="Jobs of this plugin only.")] = None,
    done: Annotated[bool, typer.Option("--done", help="Finished jobs too: work on them again.")] = False,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Queue failed jobs again, after putting right what made them fail."""
    chosen = configuration(config, data)
    named = [queries(one, chosen) for one in which or []]
    count = ask(chosen, lambda service: _requeue(service, named, plugin, done), writes=True)
    if as_json:
        show_json({"requeued": count})
    else:
        show(text(f"{plural(count, 'job')} queued again." if count else "There was nothing to queue again."))


async def _requeue(service: Service, which: list[tuple[str, ...]], plugin: str | None, done: bool) -> int:
    if not which:
        return await service.requeue([], plugin, done)
    return sum([await _requeue_one(service, meanings, plugin, done) for meanings in which])


async def _requeue_one(service: Service, meanings: tuple[str, ...], plugin: str | None, done: bool) -> int:
    """Queue again what the first known meaning names."""
    first, *others = meanings
    try:
        return await service.requeue([first], plugin, done)
    except NotFound:
        if not others:
            raise
    return await _requeue_one(service, tuple(others), plugin, done)
