"""Vectors as models give them, a journal that holds them, and the plain truth about which are nearest."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from host.journal import Journal, Row, Statement, open_journal

PLUGIN = "clip"


def unit(vectors: Any) -> np.ndarray:
    table = np.asarray(vectors, np.float64)
    return (table / np.linalg.norm(table, axis=-1, keepdims=True)).astype(np.float32)


def clustered(count: int, dimensions: int, seed: int = 0, centres: int = 50) -> np.ndarray:
    """Unit vectors around some centres, as pictures of alike things have."""
    rng = np.random.default_rng(seed)
    middle = unit(rng.standard_normal((centres, dimensions)))
    noise = rng.standard_normal((count, dimensions)) / np.sqrt(dimensions)
    return unit(middle[rng.integers(centres, size=count)] + 0.5 * noise)


def truly_nearest(vectors: np.ndarray, query: np.ndarray, limit: int) -> list[int]:
    """Row numbers, best first."""
    return np.argsort(-(vectors @ query), kind="stable")[:limit].tolist()


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Journal]:
    """A journal with its writer running."""
    async with open_journal(path) as journal:
        writer = asyncio.create_task(journal.run_writer())
        try:
            yield journal
        finally:
            writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await writer


class Embeddings:
    """Writes embeddings as the host does when jobs finish; an event is named by the number of its first vector."""

    def __init__(self, journal: Journal, count: int = 0) -> None:
        self.journal = journal
        self.count = count

    async def add(self, vectors: Iterable[Any], space: str = "space") -> list[str]:
        """One event for each vector."""
        blobs = [_blob(vector) for vector in vectors]
        return await self.add_events([[blob] for blob in blobs], space)

    async def add_events(self, events: Sequence[Sequence[Any]], space: str = "space") -> list[str]:
        """Events with any number of vectors each."""
        names = [event_name(self.count + number) for number in range(len(events))]
        self.count += len(events)
        results = [result for name, vectors in zip(names, events, strict=True) for result in _results(name, vectors)]
        await self.journal.write(
            Statement("insert_event", [_event(name) for name in names]),
            Statement("insert_job", [{"event_id": name, "plugin": PLUGIN, "queued": 0.0} for name in names]),
            Statement("insert_result", results),
            Statement("insert_embedding", [_embedding(*pair, space) for pair in _pairs(names, events)]),
        )
        return names

    async def replace(self, events: Iterable[str], vectors: Iterable[Any], space: str = "space") -> None:
        """What the results of a requeued job do to the old ones."""
        names, fresh = list(events), [[vector] for vector in vectors]
        await self.remove(names)
        results = [result for name, new in zip(names, fresh, strict=True) for result in _results(name, new)]
        await self.journal.write(
            Statement("insert_result", results),
            Statement("insert_embedding", [_embedding(*pair, space) for pair in _pairs(names, fresh)]),
        )

    async def remove(self, events: Iterable[str]) -> None:
        await self.journal.write(Statement("clear_results", [{"event_id": name, "plugin": PLUGIN} for name in events]))


def event_name(number: int) -> str:
    return f"event-{number:06d}"


def _event(name: str) -> dict[str, Any]:
    return {
        "id": name, "kind": "image", "media_type": "image/png", "sha256": name, "size": 1, "location": name, "mark": "",
        "name": name, "source": "inbox", "origin": name, "tags": "[]", "metadata": "{}", "parent": None, "created": 0.0,
    }  # fmt: skip


def _results(event: str, vectors: Sequence[Any]) -> list[dict[str, Any]]:
    result = {"type": "embedding", "version": 1, "data": "{}", "artifact": None, "provenance": "{}", "created": 0.0}
    return [{"event_id": event, "plugin": PLUGIN, "ordinal": number, **result} for number in range(len(vectors))]


def _pairs(names: Sequence[str], events: Sequence[Sequence[Any]]) -> list[tuple[str, int, Any]]:
    return [
        (name, number, vector)
        for name, vectors in zip(names, events, strict=True)
        for number, vector in enumerate(vectors)
    ]


def _embedding(event: str, ordinal: int, vector: Any, space: str) -> dict[str, Any]:
    return {"event_id": event, "plugin": PLUGIN, "ordinal": ordinal, "space": space, "vector": _blob(vector)}


def _blob(vector: Any) -> bytes:
    return vector if isinstance(vector, bytes) else np.asarray(vector, np.float32).tobytes()


class ReadingJournal:
    """A journal that counts the vectors it is asked to hand over."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.vectors_read = 0

    async def rows(self, name: str, **parameters: Any) -> list[Row]:
        rows = await self._journal.rows(name, **parameters)
        self.vectors_read += len(rows) if name == "vectors" else 0
        return rows


def described(path: Path) -> dict[str, Any]:
    """What the JSON file beside a graph says."""
    description: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())["description"]
    return description
