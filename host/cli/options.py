"""Options that many commands take, and what becomes of them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from host.config import Config, Overrides, load_config
from host.names import to_text

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The configuration; ./config.toml when it is there, else defaults."),
]
DataDir = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="The host's own folder, instead of the configured one.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many at most.")]


def configuration(file: Path | None, data: Path | None = None) -> Config:
    """What holds for a command."""
    return load_config(file, Overrides(data=data))


def file_query(argument: str) -> str:
    """A path of the command line as the service takes it: absolute, and text whatever its bytes are."""
    return to_text(os.path.abspath(argument))


def queries(argument: str, config: Config) -> tuple[str, ...]:
    """What an argument PATH|ID may mean, most likely first: the host may run in another folder, so paths are absolute.

    A bare name may also be that of a file of an inbox, or the end of a path that is long gone.
    """
    if re.fullmatch(r"[0-9a-fA-F]{4,64}", argument) and not os.path.lexists(argument):
        return (argument,)
    if os.sep in argument or os.path.lexists(argument):
        return (file_query(argument),)
    of_inboxes = (file_query(os.path.join(inbox.path, argument)) for inbox in config.inboxes)
    return (file_query(argument), *of_inboxes, to_text(argument))
