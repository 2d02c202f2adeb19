"""Search finds what the journal holds now: no more, no less, whatever lies in the folder of its files."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from host.errors import HostError
from host.journal import Journal, Row
from host.log import start_logging, stop_logging
from host.search import Neighbour, Search
from tests.host.search.vectors import Embeddings, ReadingJournal, clustered, event_name, opened, truly_nearest, unit

SPACE = "space"
DIMENSIONS = 16
BLOCK = 100


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@contextlib.asynccontextmanager
async def searching(journal: Any, folder: Path, **settings: Any):
    """A search that is closed in the end."""
    search = Search(cast(Journal, journal), folder, **{"block": BLOCK, **settings})
    try:
        yield search
    finally:
        await search.close()


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "index"


async def names(search: Search, vector: Any, limit: int = 10, space: str = SPACE) -> list[str]:
    return [found.event_id for found in await search.nearest(space, np.float32(vector).tobytes(), limit)]


async def until(condition: Callable[[], bool]) -> None:
    while True:
        if condition():
            return
        await asyncio.sleep(0.001)


async def finds_all(search: Search, vectors: np.ndarray, queries: np.ndarray, limit: int = 5) -> None:
    """What it finds is what is nearest; event n has vector n."""
    for query in queries:
        assert await names(search, query, limit) == [event_name(row) for row in truly_nearest(vectors, query, limit)]


# -- answers -----------------------------------------------------------------------------------------------------------


async def test_the_nearest_events_come_best_first_with_their_cosine(journal, embeddings, folder):
    vectors = clustered(40, DIMENSIONS)
    await embeddings.add(vectors)
    async with searching(journal, folder) as search:
        found = await search.nearest(SPACE, vectors[7].tobytes(), 3)
    expected = truly_nearest(vectors, vectors[7], 3)
    assert [one.event_id for one in found] == [event_name(row) for row in expected]
    assert [one.score for one in found] == pytest.approx((vectors[expected] @ vectors[7]).tolist(), abs=1e-5)
    assert found[0] == Neighbour(event_name(7), pytest.approx(1.0, abs=1e-6))


async def test_what_was_committed_a_moment_ago_is_found(journal, embeddings, folder):
    vectors = clustered(250, DIMENSIONS)
    async with searching(journal, folder) as search:
        assert await names(search, vectors[0]) == []
        for number, vector in enumerate(vectors):
            await embeddings.add([vector])
            assert await names(search, vector, 1) == [event_name(number)]


async def test_graphs_and_blocks_together_find_what_is_nearest(journal, embeddings, folder):
    vectors = clustered(550, DIMENSIONS)
    await embeddings.add(vectors)
    async with searching(journal, folder) as search:
        await finds_all(search, vectors, vectors[:3])
        await search.make_graphs()
        await finds_all(search, vectors, unit(vectors[::20] + 0.2 * clustered(28, DIMENSIONS, seed=1)))
    assert len(list(folder.glob("*.hnsw"))) == 5


async def test_one_that_only_reads_uses_the_graphs_and_makes_none(journal, embeddings, folder):
    vectors = clustered(350, DIMENSIONS)
    await embeddings.add(vectors[:250])
    async with searching(journal, folder) as search:
        await names(search, vectors[0])
        await search.make_graphs()
    await embeddings.add(vectors[250:])
    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    async with searching(journal, folder, read_only=True) as one, searching(journal, folder, read_only=True) as other:
        for search in (one, other):
            await finds_all(search, vectors, vectors[::50])
            await search.make_graphs()
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == files


async def test_an_event_with_many_vectors_is_one_hit_with_the_best_of_them(journal, embeddings, folder):
    many = unit(np.repeat(clustered(1, DIMENSIONS), 60, axis=0) + 0.01 * clustered(60, DIMENSIONS, seed=1))
    others = clustered(20, DIMENSIONS, seed=2)
    await embeddings.add_events([list(many), *([vector] for vector in others)])
    async with searching(journal, folder) as search:
        found = await search.nearest(SPACE, many[5].tobytes(), 4)
    assert [one.event_id for one in found] == [
        event_name(0),
        *(event_name(1 + row) for row in truly_nearest(others, many[5], 3)),
    ]
    assert found[0].score == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("graphs", [False, True])
async def test_a_limit_beyond_what_there_is_gives_all_there_is(journal, embeddings, folder, graphs):
    await embeddings.add(clustered(230, DIMENSIONS))
    async with searching(journal, folder) as search:
        await names(search, np.ones(DIMENSIONS))
        if graphs:
            await search.make_graphs()
        assert sorted(await names(search, np.ones(DIMENSIONS), 10**9)) == [event_name(n) for n in range(230)]


async def test_a_space_that_nobody_filled_gives_nothing(journal, embeddings, folder):
    await embeddings.add(clustered(3, DIMENSIONS))
    async with searching(journal, folder) as search:
        assert await names(search, np.ones(DIMENSIONS), space="another") == []
        assert await names(search, np.ones(5), space="another") == []


async def test_spaces_are_never_mixed(journal, embeddings, folder):
    small, large = clustered(150, 8), clustered(150, 32)
    await embeddings.add(small, "small")
    await embeddings.add(large, "large")
    async with searching(journal, folder) as search:
        for _ in range(2):
            assert await names(search, small[3], 1, "small") == [event_name(3)]
            assert await names(search, large[3], 1, "large") == [event_name(153)]
            await search.make_graphs()


async def test_a_vector_of_another_length_is_refused_and_the_next_search_works(journal, embeddings, folder):
    vectors = clustered(20, DIMENSIONS)
    await embeddings.add(vectors)
    async with searching(journal, folder) as search:
        with pytest.raises(HostError, match=r"has 5 numbers, the stored ones have 16\. Search with the model"):
            await names(search, np.ones(5))
        assert await names(search, vectors[4], 1) == [event_name(4)]


async def test_stored_vectors_that_are_none_are_logged_once_and_the_others_found(journal, embeddings, folder, tmp_path):
    vectors = clustered(10, DIMENSIONS)
    await embeddings.add([np.full(DIMENSIONS, np.nan), *vectors, b"abc"])
    start_logging("info", tmp_path / "host.log", terminal=False)
    try:
        async with searching(journal, folder) as search:
            assert len(await names(search, vectors[0], 100)) == 10
            assert len(await names(search, vectors[1], 100)) == 10
    finally:
        stop_logging()
    lines = [line for line in (tmp_path / "host.log").read_text().splitlines() if "unusable" in line]
    assert len(lines) == 1
    assert event_name(0) in lines[0]
    assert event_name(11) in lines[0]


# -- what was deleted or replaced --------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["in blocks", "in graphs", "in files"])
async def test_the_vector_of_a_replaced_result_is_never_found_again(journal, embeddings, folder, when):
    old, new = clustered(300, DIMENSIONS), clustered(3, DIMENSIONS, seed=5)
    events = await embeddings.add(old)
    async with contextlib.AsyncExitStack() as stack:
        search = await stack.enter_async_context(searching(journal, folder))
        await names(search, old[0])
        if when != "in blocks":
            await search.make_graphs()
        if when == "in files":
            search = await stack.enter_async_context(searching(journal, folder))
        await embeddings.replace([events[5], events[120], events[299]], new)
        await embeddings.remove([events[7]])
        for number, vector in zip((5, 120, 299), new, strict=True):
            [found] = await search.nearest(SPACE, vector.tobytes(), 1)
            assert found == Neighbour(event_name(number), pytest.approx(1.0, abs=1e-5))
            assert (await search.nearest(SPACE, old[number].tobytes(), 1))[0].score < 0.9999
        assert event_name(7) not in await names(search, old[7], 300)


async def test_after_everything_was_embedded_anew_only_the_new_vectors_are_searched(journal, embeddings, folder):
    old, new = clustered(250, DIMENSIONS), clustered(250, 2 * DIMENSIONS, seed=5)
    events = await embeddings.add(old)
    async with searching(journal, folder) as search:
        await names(search, old[0])
        await search.make_graphs()
        await embeddings.replace(events, new)
        await finds_all(search, new, new[::25])
        await search.make_graphs()
        await finds_all(search, new, new[::25])
    async with searching(journal, folder) as search:
        await finds_all(search, new, new[::25])
        assert search.resident == 250


async def test_when_everything_was_deleted_nothing_is_found_and_no_file_is_left(journal, embeddings, folder):
    vectors = clustered(250, DIMENSIONS)
    events = await embeddings.add(vectors)
    async with searching(journal, folder) as search:
        await names(search, vectors[0])
        await search.make_graphs()
        await embeddings.remove(events)
        assert await names(search, vectors[0]) == []
    assert list(folder.iterdir()) == []


# -- files -------------------------------------------------------------------------------------------------------------


async def filled(journal: Any, embeddings: Embeddings, folder: Path) -> np.ndarray:
    """250 vectors, of which 200 are in saved graphs."""
    vectors = clustered(250, DIMENSIONS)
    await embeddings.add(vectors)
    async with searching(journal, folder) as search:
        await names(search, vectors[0])
        await search.make_graphs()
    return vectors


async def test_saved_graphs_are_not_read_from_the_journal_again(journal, embeddings, folder):
    vectors = await filled(journal, embeddings, folder)
    reading = ReadingJournal(journal)
    async with searching(reading, folder) as search:
        await finds_all(search, vectors, vectors[::25])
    assert reading.vectors_read == 50


@pytest.mark.parametrize("suffix", [".hnsw", ".json"])
@pytest.mark.parametrize("victim", [0, 1])
async def test_whatever_happens_to_a_file_the_answers_are_right(journal, embeddings, folder, suffix, victim):
    vectors = await filled(journal, embeddings, folder)
    path = sorted(folder.glob(f"*{suffix}"), key=lambda path: int(path.stem.split("-")[1]))[victim]
    whole = path.read_bytes()
    rng = random.Random(4)
    contents = [b"", whole[: len(whole) // 2], rng.randbytes(len(whole)), None, whole[:-1] + bytes([whole[-1] ^ 1])]
    for content in contents:
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        async with searching(journal, folder) as search:
            await finds_all(search, vectors, vectors[::50])
            await search.make_graphs()
            await finds_all(search, vectors, vectors[::50])
        assert len(list(folder.glob("*"))) == 4


async def test_an_older_journal_that_was_put_back_is_believed_and_not_the_files(tmp_path, folder):
    path, backup = tmp_path / "journal.db", tmp_path / "backup.db"
    common, first, second = clustered(130, DIMENSIONS), clustered(70, DIMENSIONS, 1), clustered(190, DIMENSIONS, 2)
    now = np.concatenate([common, second])
    async with opened(path) as journal:
        await Embeddings(journal).add(common)
    shutil.copy(path, backup)
    async with opened(path) as journal:
        await Embeddings(journal, count=130).add(first)
        async with searching(journal, folder) as search:
            await names(search, first[0])
            await search.make_graphs()
    shutil.copy(backup, path)
    async with opened(path) as journal, searching(journal, folder) as search:
        embeddings = Embeddings(journal, count=130)
        await finds_all(search, common, common[::10])
        await embeddings.add(second[:30])
        await finds_all(search, now[:160], now[:160:10])
        await embeddings.add(second[30:])
        await finds_all(search, now, now[::10])


async def test_ids_that_an_older_journal_gave_to_other_vectors_are_noticed(tmp_path, folder):
    vectors, others = clustered(200, DIMENSIONS), clustered(220, DIMENSIONS, 2)
    async with opened(tmp_path / "one.db") as journal:
        await Embeddings(journal).add(vectors)
        async with searching(journal, folder) as search:
            await names(search, vectors[0])
            await search.make_graphs()
    async with opened(tmp_path / "other.db") as journal:
        await Embeddings(journal).add(others)
        async with searching(journal, folder) as search:
            await finds_all(search, others, others[::10])


async def test_a_folder_that_cannot_be_written_costs_only_the_files(journal, embeddings, folder, tmp_path):
    vectors = clustered(250, DIMENSIONS)
    await embeddings.add(vectors)
    folder.write_text("in the way")
    start_logging("info", tmp_path / "host.log", terminal=False)
    try:
        async with searching(journal, folder) as search:
            await finds_all(search, vectors, vectors[::50])
            await search.make_graphs()
            await finds_all(search, vectors, vectors[::50])
    finally:
        stop_logging()
    assert "search index not saved" in (tmp_path / "host.log").read_text()


# -- many at once, memory, start-up ------------------------------------------------------------------------------------


async def test_searches_while_vectors_arrive_leave_and_become_graphs_are_right(journal, embeddings, folder):
    vectors = clustered(600, DIMENSIONS)
    committed: set[str] = set()
    leaving: set[str] = set()
    removed: set[str] = set()

    async def write() -> None:
        for start in range(0, 600, 20):
            events = await embeddings.add(vectors[start : start + 20])
            committed.update(events)
            leaving.add(events[3])
            await embeddings.remove([events[3]])
            removed.add(events[3])
            await asyncio.sleep(0)

    async def ask(seed: int) -> None:
        rng = random.Random(seed)
        while len(committed) < 600:
            known, gone = sorted(committed - leaving), set(removed)
            event = rng.choice(known or [""])
            found = await names(search, vectors[int(event[-6:]) if event else 0], 5)
            assert not gone & set(found)
            assert not event or event in leaving or found[0] == event

    async def make_graphs() -> None:
        while len(committed) < 600:
            await search.make_graphs()
            await asyncio.sleep(0)

    async with searching(journal, folder) as search:
        async with asyncio.TaskGroup() as tasks:
            for job in (write(), ask(1), ask(2), ask(3), make_graphs()):
                tasks.create_task(job)
        await search.make_graphs()
        for number in range(0, 600, 7):
            event = event_name(number)
            assert (event in await names(search, vectors[number], 1)) != (event in removed)


async def test_a_search_that_is_cancelled_at_any_moment_does_not_spoil_the_next(journal, embeddings, folder):
    vectors = clustered(330, DIMENSIONS)
    await embeddings.add(vectors)
    for turns in range(0, 60, 3):
        async with searching(journal, folder) as search:
            asked = asyncio.create_task(names(search, vectors[0]))
            for _ in range(turns):
                await asyncio.sleep(0)
            asked.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asked
            await finds_all(search, vectors, vectors[::100])
            assert search.resident == 330


class GrowingJournal(ReadingJournal):
    """A journal of which the vectors up to `newest` were committed so far."""

    newest = 10

    async def rows(self, name: str, **parameters: Any) -> list[Row]:
        rows = await super().rows(name, **parameters)
        return rows if name != "vectors" else [row for row in rows if row["id"] <= self.newest]


async def test_what_a_cancelled_search_began_is_over_before_the_next_begins(journal, embeddings, folder):
    vectors = clustered(600, 2_048)  # so large that taking them in lasts some milliseconds
    await embeddings.add(vectors)
    for number in range(15):
        growing = GrowingJournal(journal)
        async with searching(growing, folder, block=1_000) as search:
            await names(search, vectors[0])
            growing.newest = 600
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.002 * (number + 1)):
                    await names(search, vectors[0])
            assert await names(search, vectors[5], 1) == [event_name(5)]
            assert search.resident == 600


async def test_memory_is_let_go_of_when_nobody_asks_and_the_next_search_is_right(journal, embeddings, folder):
    vectors = clustered(250, DIMENSIONS)
    await embeddings.add(vectors)
    clock = Clock()
    async with searching(journal, folder, keep=60, clock=clock) as search:
        await finds_all(search, vectors, vectors[:1])
        clock.now += 59
        await search.release_unused()
        assert search.resident == 250
        clock.now += 1
        await search.release_unused()
        assert search.resident == 0
        await finds_all(search, vectors, vectors[::50])


async def test_memory_is_let_go_of_without_waiting_for_pythons_collector(journal, embeddings, folder):
    await embeddings.add(clustered(250, DIMENSIONS))
    clock = Clock()
    async with searching(journal, folder, clock=clock) as search:
        gc.collect()
        gc.disable()
        try:
            await names(search, np.ones(DIMENSIONS))
            await search.make_graphs()
            assert segments_in_memory() == {"Graph", "Block"}
            clock.now += 10_000
            await search.release_unused()
            async with asyncio.timeout(60):
                await until(lambda: not segments_in_memory())
        finally:
            gc.enable()


def segments_in_memory() -> set[str]:
    return {type(one).__name__ for one in gc.get_objects() if type(one).__module__ == "host.search.segments"}


async def test_letting_go_of_memory_in_the_middle_of_a_build_ends_it_and_spoils_nothing(journal, embeddings, folder):
    vectors = clustered(450, DIMENSIONS)
    await embeddings.add(vectors)
    clock = Clock()
    async with searching(journal, folder, clock=clock) as search:
        await names(search, vectors[0])
        building = asyncio.create_task(search.make_graphs())
        await asyncio.sleep(0)
        clock.now += 10_000
        await search.release_unused()
        assert search.resident == 0
        await building
        assert search.resident == 0
        assert len(list(folder.glob("*.hnsw"))) == 1
        await finds_all(search, vectors, vectors[::50])
        await search.make_graphs()
        await finds_all(search, vectors, vectors[::50])


async def test_graphs_are_made_and_memory_let_go_of_by_itself(journal, embeddings, folder):
    vectors = clustered(250, DIMENSIONS)
    await embeddings.add(vectors)
    async with searching(journal, folder, keep=0) as search, asyncio.timeout(60):
        for _ in range(2):
            await finds_all(search, vectors, vectors[:1])
            await until(lambda: not search.resident)
            assert len(list(folder.glob("*.hnsw"))) == 2


async def test_closing_in_the_middle_of_a_build_leaves_files_that_can_be_used(journal, embeddings, folder):
    vectors = clustered(3_000, DIMENSIONS)
    await embeddings.add(vectors)
    async with searching(journal, folder, block=500) as search:
        await names(search, vectors[0])
        async with asyncio.timeout(60):
            await until(lambda: any(folder.glob("*.json")))
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "search-upkeep"]
    async with searching(journal, folder, block=500) as search:
        await finds_all(search, vectors, vectors[::300])


def test_a_host_that_nobody_asks_imports_neither_numpy_nor_hnswlib():
    program = (
        "import sys; from pathlib import Path; from host.search import Search; Search(None, Path('nowhere')); "
        "print([name for name in ('numpy', 'hnswlib') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
