"""What the sinks are tested with: a real journal and library, and work that is finished in them."""

from __future__ import annotations

import pytest

from host.journal import Journal
from host.library import Library
from host.mqtt.messages import Topics
from host.sinks.outbox import Outbox
from tests.host.sinks.finished_work import FinishedWork

TOPICS = Topics("sensorium", "attic")


@pytest.fixture
def work(journal: Journal, library: Library) -> FinishedWork:
    return FinishedWork(journal, library)


@pytest.fixture
async def outbox(journal: Journal, library: Library) -> Outbox:
    """An outbox at work; what comes from MQTT belongs to the first level of its topic."""
    outbox = Outbox(
        journal, library, TOPICS, lambda source, origin: origin.split("/")[0] if source == "mqtt" else source
    )
    await outbox.open()
    return outbox
