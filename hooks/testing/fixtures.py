"""pytest fixtures for plugin authors, for those who ask for them: see `hooks.testing`."""

from __future__ import annotations

from pathlib import Path

import pytest

from hooks.testing.events import EventFactory
from hooks.testing.host import TemporaryHost
from hooks.testing.lease import FakeLease


@pytest.fixture
def events(tmp_path: Path) -> EventFactory:
    """Makes events of small real files: `events.image()`, `events.audio()`, `events.of_file("cat.jpg")`."""
    return EventFactory(tmp_path / "events")


@pytest.fixture
def lease() -> FakeLease:
    """A device with 4000 MB, which a test may change: `lease.memory_mb = 300`."""
    return FakeLease()


@pytest.fixture
def host(tmp_path: Path) -> TemporaryHost:
    """A host in a folder of its own: `host.use(plugin)`, `host.drop(events.image())`, `host.run()`."""
    return TemporaryHost(tmp_path / "host")
