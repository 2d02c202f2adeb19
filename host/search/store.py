"""The graphs on disk: caches that are believed only when their checksum and their place in the order of ids are right.

    <hash of the space>-<after>.hnsw    the graph, as hnswlib writes it
    <hash of the space>-<after>.json    what it is, and the checksum of both; written last, so that it vouches for both

Each is written to a temporary name, flushed and renamed, and the folder is flushed after that. The next graph of a
space begins where the one before ends: a file that does not follow from them is an orphan and is swept.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from host.durable import sync_files
from host.log import get_logger
from host.search.segments import Graph

CHUNK = 1024 * 1024

log = get_logger(__name__)


class Description(BaseModel):
    """What a file holds: `count` vectors with `after` < id <= `newest`, those `apart` not to be searched by links.

    `newest` is its generation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: Literal[1] = 1
    space: str
    dimensions: int
    count: int
    after: int
    newest: int
    apart: tuple[int, ...]

    def checksum(self, path: Path) -> str:
        """SHA-256 of this description and the file: a changed number here is found like a changed byte there."""
        digest = hashlib.sha256(self.model_dump_json().encode())
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
        return digest.hexdigest()


class Snapshot(BaseModel):
    """The content of the JSON file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    description: Description
    sha256: str


class Store:
    """The graphs under one folder; its methods block and are called from threads, one at a time.

    With `read_only` nothing is removed, and `save` is not for it: the files belong to another process.
    """

    def __init__(self, folder: Path, *, read_only: bool = False) -> None:
        self.folder = folder
        self._read_only = read_only

    def load(self, space: str) -> list[Graph]:
        """The graphs of a space that can be trusted, in order; the space's other files are removed."""
        graphs: list[Graph] = []
        position = 0
        while (graph := self._read(space, position)) is not None:
            graphs.append(graph)
            position = graph.newest
        self._sweep(space, graphs)
        return graphs

    def save(self, space: str, graph: Graph) -> None:
        """Keep a graph; durable when this returns. Raises OSError; a file that was there before may then be gone."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(space, graph.after)
        temporary, described = path.with_suffix(".hnsw.part"), path.with_suffix(".json.part")
        try:
            graph.save(temporary)
            snapshot = _snapshot(space, graph, temporary)
            described.write_text(snapshot.model_dump_json())
            sync_files([temporary, described], self.folder)
            os.replace(temporary, path)
            os.replace(described, path.with_suffix(".json"))
            sync_files([path, path.with_suffix(".json")], self.folder)
        finally:
            temporary.unlink(missing_ok=True)
            described.unlink(missing_ok=True)

    def clear(self, space: str) -> None:
        """Remove all files of a space."""
        self._sweep(space, [])

    def _read(self, space: str, after: int) -> Graph | None:
        path = self._path(space, after)
        try:
            snapshot = Snapshot.model_validate_json(path.with_suffix(".json").read_bytes())
            found = snapshot.description
            if (found.space, found.after) != (space, after) or found.newest <= after:
                raise ValueError(f"it holds another range: {found}")
            if found.checksum(path) != snapshot.sha256:
                raise ValueError("its checksum is wrong")
            return Graph.load(path, found.dimensions, found.after, found.newest, found.apart)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RuntimeError) as error:
            log.warning("search index not usable, made anew from the journal", file=str(path), reason=str(error))
            return None

    def _sweep(self, space: str, keep: list[Graph]) -> None:
        if self._read_only:
            return
        kept = {self._path(space, graph.after).stem for graph in keep}
        for path in self.folder.glob(f"{_safe_name(space)}-*"):
            if path.name.split(".")[0] not in kept or path.suffix == ".part":
                _remove(path)

    def _path(self, space: str, after: int) -> Path:
        return self.folder / f"{_safe_name(space)}-{after}.hnsw"


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:  # it is never believed, so it only takes room
        log.warning("old search index not removed", file=str(path), reason=str(error))


def _safe_name(space: str) -> str:
    """A space is what a plugin calls its model: data, never a path."""
    return hashlib.sha256(space.encode()).hexdigest()[:32]


def _snapshot(space: str, graph: Graph, path: Path) -> Snapshot:
    description = Description(
        space=space,
        dimensions=graph.dimensions,
        count=graph.count,
        after=graph.after,
        newest=graph.newest,
        apart=tuple(graph.apart.tolist()),
    )
    return Snapshot(description=description, sha256=description.checksum(path))
