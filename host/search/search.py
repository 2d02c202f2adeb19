"""The one owner of the search indexes: catches up with the journal, answers, makes graphs aside, lets go of memory.

    asked        the index is opened (from the files that can be trusted), catches up with the journal, and answers
    block full   it becomes a graph in the background, in small steps, and is saved
    unused       after `keep` seconds everything is let go of; the next question opens it again

The index only proposes: each proposal is looked up in the journal before it is given, so what was deleted or replaced
is never found, whatever an index or a file says.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from host.journal import Journal
from host.log import get_logger

if TYPE_CHECKING:
    from host.search.index import VectorIndex
    from host.search.segments import Block, Graph
    from host.search.store import Store

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Vectors that are searched exactly: 1.5 ms at 512 numbers each. hnswlib holds the GIL while it saves or loads their
# graph, for 20 to 50 ms, and so does its pickling, and the loading of what another process would build. So graphs are
# not made larger: with smaller ones an answer would take longer than without any.
BLOCK = 20_000
PAGE = 1_000  # rows read from the journal at once
STEP = 100  # vectors added to a graph at once: about .1 s
LABELS = 5_000  # ids that the journal is asked about at once
KEEP = 300.0

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An event and the cosine similarity of its nearest vector, -1 to 1."""

    event_id: str
    score: float


class Search:
    """Answers which events are nearest to a vector; `close` ends its background work.

    `block` is how many vectors are searched exactly before a graph is made of them, `keep` the seconds after which
    unused memory is let go of, by `clock` (monotonic). With `read_only` files are used and never changed: the host, or
    another command, may write them.
    """

    def __init__(
        self,
        journal: Journal,
        folder: Path,
        *,
        block: int = BLOCK,
        keep: float = KEEP,
        clock: Callable[[], float] = time.monotonic,
        read_only: bool = False,
    ) -> None:
        self._journal = journal
        self._folder = folder
        self._block = block
        self._keep = keep
        self._clock = clock
        self._read_only = read_only
        self._used = clock()
        self._spaces: dict[str, VectorIndex] = {}
        self._lock = asyncio.Lock()
        self._building = asyncio.Lock()
        # One thread: what a cancelled question began has ended before the next one touches the index.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="search")
        self._asked = asyncio.Event()
        self._upkeep: asyncio.Task[None] | None = None

    async def nearest(self, space: str, vector: bytes, limit: int = 10) -> list[Neighbour]:
        """The events nearest to a float32 vector, best first, each once; of all that is committed by now.

        Raises HostError when the vector has another length than those of the space, or is not finite.
        """
        async with self._lock:
            index = self._spaces[space] if space in self._spaces else await self._open(space)
            while True:
                index = await self._catch_up(space, index)
                answer = await self._answer(space, index, vector, limit)
                if answer is not None:
                    break
                index = await self._forget_missing(space, index)
            self._spaces[space] = index
            self._used = self._clock()
        self._keep_up()
        return answer

    @property
    def resident(self) -> int:
        """How many vectors are in memory."""
        return sum(index.present for index in self._spaces.values())

    async def close(self) -> None:
        """End the background work; a graph that is not finished is made again some other time."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._upkeep
            self._upkeep = None
        async with self._lock:
            self._spaces.clear()
        self._thread.shutdown(wait=False)

    # -- answering: with the lock held -------------------------------------------------------------------------------

    async def _open(self, space: str) -> VectorIndex:
        index = await self._forget_missing(space, await self._do(self._load, space))
        if await self._is_of_this_journal(space, index):
            return index
        log.warning("search index of another journal, made anew", space=space)
        return await self._begin_anew(space)

    def _load(self, space: str) -> VectorIndex:
        return self._new_index(self._store().load(space))

    # Imported by the first question: NumPy and hnswlib take .3 s and 17 MB that an idle host must not pay.

    def _new_index(self, graphs: Sequence[Graph] = ()) -> VectorIndex:
        from host.search.index import VectorIndex

        return VectorIndex(self._block, graphs)

    def _store(self) -> Store:
        from host.search.store import Store

        return Store(self._folder, read_only=self._read_only)

    async def _is_of_this_journal(self, space: str, index: VectorIndex) -> bool:
        """No longer so when an older journal was put back: it gives the same ids to other vectors."""
        newest = await self._journal.rows("newest_embedding")
        if index.newest > newest[0]["id"]:
            return False
        rows = await self._journal.rows("vectors_by_id", space=space, ids=json.dumps(index.sample()))
        return await self._do(index.agrees, rows)

    async def _catch_up(self, space: str, index: VectorIndex) -> VectorIndex:
        while rows := await self._journal.rows("vectors", space=space, after=index.newest, limit=PAGE):
            unusable = await self._do(index.add, rows)
            if unusable:
                log.warning("unusable vectors are not searched", space=space, count=len(unusable), events=unusable[:5])
                # All may have been embedded anew, with another length.
                index = await self._forget_missing(space, index)
        return index

    async def _answer(self, space: str, index: VectorIndex, vector: bytes, limit: int) -> list[Neighbour] | None:
        """The nearest events; None when the index proposed what the journal no longer has."""
        wanted = limit
        while True:
            ids, scores = await self._do(index.nearest, vector, wanted)
            rows = await self._journal.rows("events_of_vectors", space=space, ids=json.dumps(ids))
            events = {row["id"]: row["event_id"] for row in rows}
            if len(events) < len(ids):
                return None
            best = _best_of_each((events[one], score) for one, score in zip(ids, scores, strict=True))
            if len(best) >= limit or len(ids) == index.present:
                return best[:limit]
            wanted *= 4  # several of these vectors belong to one event

    async def _forget_missing(self, space: str, index: VectorIndex) -> VectorIndex:
        """The index without what the journal no longer has; when that was most of it, a new one."""
        for ids in index.labels(LABELS):
            rows = await self._journal.rows("missing_vectors", space=space, ids=json.dumps(ids))
            await self._do(index.remove, [row["id"] for row in rows])
        return await self._begin_anew(space) if index.is_mostly_removed else index

    async def _begin_anew(self, space: str) -> VectorIndex:
        await self._do(self._store().clear, space)
        return await self._do(self._new_index)

    async def _do(self, function: Callable[[*Ts], T], *args: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    # -- in the background -------------------------------------------------------------------------------------------

    def _keep_up(self) -> None:
        self._asked.set()
        if self._upkeep is not None and self._upkeep.done():
            self._upkeep.result()  # raises what it died of
            self._upkeep = None
        if self._upkeep is None:
            self._upkeep = asyncio.create_task(self._run_upkeep(), name="search-upkeep")

    async def _run_upkeep(self) -> None:
        while self._spaces:
            self._asked.clear()
            await self.make_graphs()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._used + self._keep - self._clock()):
                    await self._asked.wait()
            await self.release_unused()

    async def release_unused(self) -> None:
        """Let go of all memory when nobody has asked for `keep` seconds."""
        async with self._lock:
            if self._clock() - self._used >= self._keep:
                self._spaces.clear()
                await self._do(_return_memory)

    async def make_graphs(self) -> None:
        """Turn full blocks into graphs and save them; no question waits for it."""
        if self._read_only:
            return
        async with self._building:
            for space, index in list(self._spaces.items()):
                while (block := index.full_block()) is not None:
                    graph = await self._graph_of(index, block)
                    await self._save(space, graph)
                    async with self._lock:
                        if self._spaces.get(space) is not index:  # let go of, or begun anew, in the meantime
                            break
                        await self._do(index.replace, block, graph)

    async def _graph_of(self, index: VectorIndex, block: Block) -> Graph:
        graph = index.graph_for(block)
        steps = graph.fill(block, STEP)
        while await asyncio.to_thread(_goes_on, steps):
            pass
        return graph

    async def _save(self, space: str, graph: Graph) -> None:
        try:
            await asyncio.to_thread(self._store().save, space, graph)
        except OSError as error:
            log.warning("search index not saved, will be made again", folder=str(self._folder), reason=str(error))


def _return_memory() -> None:
    """Hand freed memory back to the system: the C library keeps half of it after 100,000 vectors of 128 numbers."""
    with contextlib.suppress(AttributeError):  # only glibc has it, only glibc needs it
        ctypes.CDLL(None).malloc_trim(0)


def _goes_on(steps: Iterator[None]) -> bool:
    return next(steps, steps) is None


def _best_of_each(found: Iterable[tuple[str, float]]) -> list[Neighbour]:
    """The first score of each event; `found` comes best first."""
    best: dict[str, float] = {}
    for event, score in found:
        best.setdefault(event, score)
    return [Neighbour(event, score) for event, score in best.items()]
