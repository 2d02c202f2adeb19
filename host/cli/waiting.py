"""A sign of life while something takes its time: on a terminal, and on standard error alone."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from host.cli.output import console


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show that work goes on while the block lasts."""
    if not sys.stderr.isatty():
        yield
        return
    with console(stderr=True).status(f"{what} …", spinner="dots"):
        yield
