"""The bundled model in this process, as a plugin loads it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from plugins.generation.local import LocalModel
from tests.worker_client import CPU
from tools.train_llm.evaluate import MODEL


@pytest.fixture(scope="session")
def model() -> Iterator[LocalModel]:
    loaded = LocalModel(MODEL, CPU, context=512)
    yield loaded
    loaded.close()
