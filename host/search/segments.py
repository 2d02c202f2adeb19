"""Two ways to hold vectors of one space: a block, searched exactly, and a graph, searched by following its links.

Importing this module imports NumPy and hnswlib: .3 s and 17 MB that an idle host must not pay.
Graphs: Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using Hierarchical Navigable
Small World graphs", 2018, https://arxiv.org/abs/1603.09320
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
Vectors = NDArray[np.float32]
Found = tuple[Labels, NDArray[np.float32]]

M = 16
EF_CONSTRUCTION = 200
EF_SEARCH = 100
EF_CHECK = 10


class Segment:
    """The vectors of a range of ids, (`after`, `newest`]; one that was removed keeps its row, but is never found."""

    def __init__(self, after: int, newest: int, labels: Labels, count: int) -> None:
        self.after = after
        self.newest = newest
        self.count = count
        self._labels = labels
        self._present = np.arange(len(labels)) < count

    @property
    def present(self) -> int:
        """How many vectors can be found."""
        return int(np.count_nonzero(self._present))

    def labels(self) -> Labels:
        """The ids of the vectors that can be found."""
        return self._labels[self._present]

    def remove(self, labels: Sequence[int] | Labels) -> Labels:
        """Let vectors be found no more; returns which of them were here."""
        here = np.isin(self._labels, labels) & self._present
        self._present[here] = False
        return self._labels[here]

    def _enter(self, labels: Labels) -> slice:
        rows = slice(self.count, self.count + len(labels))
        self._labels[rows] = labels
        self._present[rows] = True
        self.count = rows.stop
        return rows


class Block(Segment):
    """Vectors that are searched exactly, with room for `capacity` of them; the system backs only the rows in use."""

    def __init__(self, after: int, dimensions: int, capacity: int) -> None:
        super().__init__(after, after, np.empty(capacity, np.int64), 0)
        self._vectors = np.empty((capacity, dimensions), np.float32)

    @property
    def is_full(self) -> bool:
        return self.count == len(self._labels)

    def add(self, labels: Labels, vectors: Vectors) -> int:
        """Take in what there is room for, at least one; returns how many."""
        taken = min(len(labels), len(self._labels) - self.count)
        self._vectors[self._enter(labels[:taken])] = vectors[:taken]
        self.newest = int(labels[taken - 1])
        return taken

    def nearest(self, query: Vectors, limit: int) -> Found:
        """Not sorted."""
        # vecdot and not `@`: a matrix product wakes the threads of BLAS, and waits 8 ms for them when cores are busy.
        scores = np.vecdot(self._vectors[: self.count], query)
        scores[~self._present[: self.count]] = -np.inf
        best = np.argpartition(scores, -limit)[-limit:]
        return self._labels[best], scores[best]

    def part(self, start: int, size: int) -> tuple[Labels, Vectors]:
        """What can be found among `size` rows from `start`."""
        rows = np.flatnonzero(self._present[start : start + size]) + start
        return self._labels[rows], self._vectors[rows]


class Graph(Segment):
    """An HNSW graph; it only grows in `fill`, before anybody searches or saves it.

    Beside many copies of one vector others cannot be reached: the copies have links to each other only. What does not
    find itself is set apart and searched exactly, so that such data costs time and not hits.
    """

    def __init__(self, index: Any, after: int, newest: int, labels: Labels, count: int) -> None:
        super().__init__(after, newest, labels, count)
        self._index = index
        self._apart = Block(after, self.dimensions, 0)

    @classmethod
    def for_block(cls, block: Block, dimensions: int) -> Graph:
        """An empty graph with room for what the block holds."""
        index = hnswlib.Index(space="ip", dim=dimensions)
        index.init_index(max_elements=block.count, M=M, ef_construction=EF_CONSTRUCTION)
        return cls(index, block.after, block.newest, np.empty(block.count, np.int64), 0)

    @classmethod
    def load(cls, path: Path, dimensions: int, after: int, newest: int, apart: Sequence[int]) -> Graph:
        """The graph in a file. Raises RuntimeError when hnswlib cannot read it."""
        index = hnswlib.Index(space="ip", dim=dimensions)
        index.load_index(str(path))
        labels = np.array(index.get_ids_list(), np.int64)
        for label in apart:
            index.unmark_deleted(label)
        graph = cls(index, after, newest, labels, len(labels))
        graph._set_apart(np.array(apart, np.int64))
        return graph

    @property
    def dimensions(self) -> int:
        return int(self._index.dim)

    @property
    def apart(self) -> Labels:
        """The ids of the vectors that are searched exactly."""
        return self._apart.labels()

    def linked(self) -> Labels:
        """The ids of the vectors that are found by links."""
        return np.setdiff1d(self.labels(), self.apart)

    def fill(self, block: Block, step: int) -> Iterator[None]:
        """Take in the block's vectors, `step` of them between two yields."""
        lost = []
        for start in range(0, block.count, step):
            self._add(*block.part(start, step))
            yield
        for start in range(0, block.count, step):
            lost.append(self._lost(*block.part(start, step)))
            yield
        self._set_apart(np.concatenate(lost))

    def _add(self, labels: Labels, vectors: Vectors) -> None:
        if len(labels):
            self._index.add_items(vectors, labels, num_threads=1)
            self._enter(labels)

    def _lost(self, labels: Labels, vectors: Vectors) -> Labels:
        """Which of these do not find themselves, nor a copy."""
        if not len(labels):
            return labels
        self._index.set_ef(EF_CHECK)
        found, distances = self._index.knn_query(vectors, k=1, num_threads=1)
        is_lost: NDArray[np.bool_] = (found[:, 0] != labels) & (distances[:, 0] > 1e-6)
        return labels[is_lost]

    def _set_apart(self, labels: Labels) -> None:
        if len(labels):
            self._apart = Block(self.after, self.dimensions, len(labels))
            self._apart.add(labels, self.vectors(labels))
            for label in labels:
                self._index.mark_deleted(label)

    def nearest(self, query: Vectors, limit: int) -> Found:
        """Not sorted, and up to twice the limit."""
        apart = min(limit, self._apart.present)
        linked = min(limit, self.present - self._apart.present)
        found = [self._apart.nearest(query, apart)] if apart else []
        found += [self._nearest_by_links(query, linked)] if linked else []
        return np.concatenate([labels for labels, _ in found]), np.concatenate([scores for _, scores in found])

    def _nearest_by_links(self, query: Vectors, limit: int) -> Found:
        self._index.set_ef(max(EF_SEARCH, 2 * limit))
        try:
            labels, distances = self._index.knn_query(query, k=limit, num_threads=1)
        except RuntimeError:  # fewer can be reached from here than were asked for
            labels = self.linked()
            return labels, np.vecdot(self.vectors(labels), query)
        return labels[0].astype(np.int64), 1 - distances[0]

    def vectors(self, labels: Sequence[int] | Labels) -> Vectors:
        """The vectors of some linked ids, one a row."""
        return np.array(self._index.get_items(labels), np.float32).reshape(len(labels), self.dimensions)

    def remove(self, labels: Sequence[int] | Labels) -> Labels:
        removed = super().remove(labels)
        for label in np.setdiff1d(removed, self._apart.remove(removed)):
            self._index.mark_deleted(label)
        return removed

    def save(self, path: Path) -> None:
        """Write the file. Raises OSError when not all of it was written, of which hnswlib says nothing."""
        self._index.save_index(str(path))
        if path.stat().st_size != self._index.index_file_size():
            raise OSError(f"only a part of {path.name} was written; the disk may be full")
