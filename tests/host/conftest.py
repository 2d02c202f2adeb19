"""A real journal and a real library, for the tests of what stands on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from host.journal import Journal, open_journal
from host.library import Library


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """An open journal with its writer at work."""
    async with open_journal(tmp_path / "data" / "journal.db") as journal:
        writer = asyncio.create_task(journal.run_writer())
        yield journal
        writer.cancel()
        await asyncio.gather(writer, return_exceptions=True)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """An empty library, ready to store."""
    library = Library(tmp_path / "data" / "library")
    library.prepare()
    return library
