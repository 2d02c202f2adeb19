"""The plugin as the host calls it: with the bundled model, in a worker process of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hooks import Data, Text
from hooks.wire import Message
from plugins.generation.local import LocalModel
from tests.worker_client import CPU, WorkerClient
from tools.train_llm.evaluate import MODEL

MODULE = "plugins.llm.llm"
MEDIA_TYPES = {
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".yaml": "application/yaml",
}


def event_of(path: Path, **more: Any) -> Text | Data:
    """The event that a file is, by its suffix."""
    media_type = MEDIA_TYPES.get(path.suffix, "text/plain")
    cls = Data if path.suffix in MEDIA_TYPES else Text
    return cls(
        id=path.name, media_type=media_type, sha256="0" * 64, size=path.stat().st_size, path=path, name=path.name,
        source="test", origin=path.name, created=datetime(2026, 11, 20, tzinfo=UTC), **more,
    )  # fmt: skip


class Desk:
    """A worker with the plugin loaded."""

    def __init__(self, client: WorkerClient) -> None:
        self.client = client

    def read(self, *paths: Path, **more: Any) -> list[Message]:
        """What the plugin answers to files of one kind, without its progress."""
        events = [event_of(path, **more) for path in paths]
        return self._answers(self.client.run(events, events[0].hook))

    def perform(self, name: str, values: Mapping[str, Any], files: Sequence[Path] = ()) -> list[Message]:
        """What the plugin answers to a task, pieces of text included."""
        task = {"name": name, "values": dict(values), "files": [str(file) for file in files]}
        return self._answers(self.client.request({"op": "perform", "task": task}))

    def _answers(self, messages: Sequence[Message]) -> list[Message]:
        assert messages[-1].op in ("done", "error"), messages[-1].body
        kept = messages if messages[-1].op == "error" else messages[:-1]
        return [message for message in kept if message.op != "progress"]


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with WorkerClient.started() as client:
        scratch = tmp_path_factory.mktemp("scratch")
        assert client.load(MODULE, scratch=scratch).op == "loaded"
        yield Desk(client)
        assert client.unload() == 0


@pytest.fixture(scope="session")
def bundled() -> Iterator[LocalModel]:
    loaded = LocalModel(MODEL, CPU, context=512)
    yield loaded
    loaded.close()
