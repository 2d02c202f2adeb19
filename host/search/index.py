"""All vectors of one space in memory: graphs for the older ones, blocks for the newest.

    vectors → block   appended in the order of their ids in the journal; searched exactly
    block   → graph   full, so that it never grows again: the graph is built aside, saved, and takes the block's place

So nothing is ever added to a graph that is searched or saved (hnswlib allows neither), an answer never waits for a
build, and a save writes what is new instead of everything. What the journal no longer has is marked as removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from host.errors import HostError
from host.search.segments import Block, Graph, Labels, Vectors

if TYPE_CHECKING:
    from host.journal import Row

SAMPLE = 16


class VectorIndex:
    """All vectors of one space up to `newest`, in the journal's order: graphs first, then blocks of `capacity`."""

    def __init__(self, capacity: int, graphs: Sequence[Graph] = ()) -> None:
        self.segments: list[Block | Graph] = list(graphs)
        self.newest = graphs[-1].newest if graphs else 0
        self.dimensions = graphs[0].dimensions if graphs else 0
        self._capacity = capacity

    @property
    def present(self) -> int:
        """How many vectors can be found."""
        return sum(segment.present for segment in self.segments)

    @property
    def is_mostly_removed(self) -> bool:
        """Whether more was removed than is left: time to start anew."""
        return 2 * self.present < sum(segment.count for segment in self.segments)

    def add(self, rows: Sequence[Row]) -> list[str]:
        """Take in the journal's next vectors (id, event_id, vector); returns the events whose vector is unusable.

        Most of the first ones decide how many numbers a vector of this space has.
        """
        rows = [row for row in rows if row["id"] > self.newest]
        if not rows:
            return []
        blobs = [row["vector"] for row in rows]
        self.dimensions = self.dimensions or _usual_dimensions(blobs)
        vectors, usable = unit_vectors(blobs, self.dimensions)
        labels = np.array([row["id"] for row in rows], np.int64)[usable]
        self._append(labels, vectors)
        self.newest = rows[-1]["id"]
        return [row["event_id"] for row, good in zip(rows, usable, strict=True) if not good]

    def _append(self, labels: Labels, vectors: Vectors) -> None:
        while len(labels):
            last = self.segments[-1] if self.segments else None
            if not isinstance(last, Block) or last.is_full:
                last = Block(last.newest if last else 0, self.dimensions, self._capacity)
                self.segments.append(last)
            taken = last.add(labels, vectors)
            labels, vectors = labels[taken:], vectors[taken:]

    def nearest(self, vector: bytes, limit: int) -> tuple[list[int], list[float]]:
        """The ids of the nearest vectors and their cosine similarity, best first; fewer than `limit` where there are.

        Raises HostError when the vector cannot be compared with those of this space.
        """
        if limit < 1 or not self.present:
            return [], []
        query = self._query(vector)
        found = [one.nearest(query, min(limit, one.present)) for one in self.segments if one.present]
        labels = np.concatenate([labels for labels, _ in found])
        scores = np.concatenate([scores for _, scores in found])
        best = np.argsort(-scores, kind="stable")[:limit]
        return labels[best].tolist(), np.clip(scores[best], -1, 1).tolist()

    def _query(self, vector: bytes) -> Vectors:
        if len(vector) != 4 * self.dimensions:
            raise HostError(
                f"The vector to search with has {len(vector) / 4:g} numbers, the stored ones have {self.dimensions}.",
                "Search with the model that made them; `sensorium requeue --done` has all of them made anew.",
            )
        vectors, usable = unit_vectors([vector], self.dimensions)
        if not usable[0]:
            raise HostError(
                "The vector to search with is zero, or has numbers that are not finite.",
                "The model that made it is at fault; `sensorium models` names it.",
            )
        query: Vectors = vectors[0]
        return query

    def labels(self, size: int) -> Iterator[list[int]]:
        """The ids of all vectors that can be found, at most `size` at once."""
        for segment in self.segments:
            labels = segment.labels()
            for start in range(0, len(labels), size):
                yield labels[start : start + size].tolist()

    def remove(self, labels: Sequence[int]) -> None:
        """Let vectors be found no more."""
        for segment in self.segments:
            segment.remove(labels)

    def sample(self) -> list[int]:
        """Some ids of each graph, the newest that is found by links among them."""
        chosen: list[int] = []
        for graph in self._graphs():
            labels = graph.linked()[::-1]
            chosen.extend(labels[:: max(1, len(labels) // SAMPLE)].tolist())
        return chosen

    def agrees(self, rows: Sequence[Row]) -> bool:
        """Whether the graphs hold these very vectors (id, vector) under these ids."""
        return all(self._agrees(graph, rows) for graph in self._graphs())

    def _agrees(self, graph: Graph, rows: Sequence[Row]) -> bool:
        rows = [row for row in rows if graph.after < row["id"] <= graph.newest]
        vectors, usable = unit_vectors([row["vector"] for row in rows], self.dimensions)
        return bool(usable.all()) and np.allclose(graph.vectors([row["id"] for row in rows]), vectors, atol=1e-5)

    def _graphs(self) -> list[Graph]:
        return [segment for segment in self.segments if isinstance(segment, Graph)]

    def full_block(self) -> Block | None:
        """The oldest block that can become a graph."""
        blocks = (one for one in self.segments if isinstance(one, Block) and one.is_full)
        return next(blocks, None)

    def graph_for(self, block: Block) -> Graph:
        """An empty graph to be filled with the block's vectors."""
        return Graph.for_block(block, self.dimensions)

    def replace(self, block: Block, graph: Graph) -> None:
        """Put the graph in the place of the block that it was built from, less what was removed since."""
        graph.remove(np.setdiff1d(graph.labels(), block.labels()))
        self.segments[self.segments.index(block)] = graph


def unit_vectors(blobs: Sequence[bytes], dimensions: int) -> tuple[Vectors, NDArray[np.bool_]]:
    """The usable blobs as rows of unit length, and which they are: the right size, finite, not zero."""
    size = 4 * dimensions
    zero = bytes(size)
    table = np.frombuffer(b"".join(blob if len(blob) == size else zero for blob in blobs), "<f4")
    vectors = table.reshape(len(blobs), dimensions)
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    usable = np.isfinite(lengths) & (lengths > 0)
    return (vectors[usable] / lengths[usable, np.newaxis]).astype(np.float32), usable


def _usual_dimensions(blobs: Sequence[bytes]) -> int:
    """How many numbers most of the usable vectors have; 0 when none is usable."""
    usable = (blob for blob in blobs if unit_vectors([blob], len(blob) // 4)[1][0])
    counts = Counter(len(blob) // 4 for blob in usable).most_common(1)
    return counts[0][0] if counts else 0
