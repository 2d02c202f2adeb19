"""Embeddings in the journal of each test."""

import pytest

from tests.host.search.vectors import Embeddings


@pytest.fixture
def embeddings(journal) -> Embeddings:
    return Embeddings(journal)
