"""A journal for each test of the search."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from host.journal import Journal
from tests.host.search.vectors import Embeddings, opened


@pytest_asyncio.fixture
async def journal(tmp_path) -> AsyncIterator[Journal]:
    async with opened(tmp_path / "journal.db") as journal:
        yield journal


@pytest_asyncio.fixture
async def embeddings(journal) -> Embeddings:
    return Embeddings(journal)
