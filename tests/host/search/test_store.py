"""A file is believed only when it is whole, of this space and in its place; else it is as if it were not there."""

import contextlib
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from host.search.index import VectorIndex
from host.search.segments import Graph
from host.search.store import Store
from tests.host.search.vectors import clustered, described

SPACE = "ViT-B-32/laion2b"
SIZE, DIMENSIONS = 60, 8


def graphs_of(vectors: np.ndarray, size: int = SIZE, first: int = 1) -> list[Graph]:
    """Graphs of `size` vectors each, one after the other."""
    index = VectorIndex(capacity=size)
    index.newest = first - 1
    index.add([{"id": first + n, "event_id": "", "vector": vector.tobytes()} for n, vector in enumerate(vectors)])
    while (block := index.full_block()) is not None:
        graph = index.graph_for(block)
        for _ in graph.fill(block, size):
            pass
        index.replace(block, graph)
    return [segment for segment in index.segments if isinstance(segment, Graph)]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "index")


@pytest.fixture
def saved(store) -> list[Path]:
    """The files of three graphs, in order."""
    for graph in graphs_of(clustered(3 * SIZE, DIMENSIONS)):
        store.save(SPACE, graph)
    return sorted(store.folder.glob("*.hnsw"), key=lambda path: described(path)["after"])


def ranges(graphs: list[Graph]) -> list[tuple[int, int]]:
    return [(graph.after, graph.newest) for graph in graphs]


WHOLE = [(0, 60), (60, 120), (120, 180)]


def test_a_reader_uses_the_files_and_removes_none(store, saved):
    saved[2].write_bytes(b"torn")
    there = sorted(store.folder.iterdir())
    reader = Store(store.folder, read_only=True)
    assert ranges(reader.load(SPACE)) == WHOLE[:2]
    reader.clear(SPACE)
    assert sorted(store.folder.iterdir()) == there


def test_what_was_saved_is_loaded_in_order(store, saved):
    graphs = store.load(SPACE)
    assert ranges(graphs) == WHOLE
    vectors = clustered(3 * SIZE, DIMENSIONS)
    for graph in graphs:
        labels = graph.linked()
        assert graph.vectors(labels) == pytest.approx(vectors[labels - 1], abs=1e-6)


def test_nothing_is_loaded_where_nothing_was_saved(store):
    assert store.load(SPACE) == []
    store.clear(SPACE)


def test_spaces_are_kept_apart(store, saved):
    store.save("other", graphs_of(clustered(SIZE, DIMENSIONS, seed=1))[0])
    store.clear(SPACE)
    assert store.load(SPACE) == []
    assert ranges(store.load("other")) == [(0, 60)]


@pytest.mark.parametrize("space", ["../../outside", "/etc/passwd", "a" * 5_000, "", "*", "nul\0byte", "zwölf 🐈\n"])
def test_the_name_of_a_space_is_never_a_path(store, space):
    store.save(space, graphs_of(clustered(SIZE, DIMENSIONS))[0])
    assert len(list(store.folder.iterdir())) == 2
    assert [path.name for path in store.folder.parent.iterdir()] == ["index"]
    assert ranges(store.load(space)) == [(0, 60)]


def test_a_graph_that_is_saved_again_replaces_the_file(store, saved):
    store.save(SPACE, graphs_of(clustered(2 * SIZE, DIMENSIONS, seed=1), size=2 * SIZE)[0])
    assert ranges(store.load(SPACE)) == [(0, 120), (120, 180)]


def damage_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_emptied(path: Path) -> None:
    path.write_bytes(b"")


def damage_extended(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def damage_replaced_by_a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def damage_removed(path: Path) -> None:
    path.unlink()


def damage_text(path: Path) -> None:
    path.write_text('{"newest": 3}')


DAMAGES = [
    damage_truncated, damage_emptied, damage_extended, damage_replaced_by_a_directory, damage_removed, damage_text,
]  # fmt: skip


@pytest.mark.parametrize("suffix", [".hnsw", ".json"])
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_file_and_what_follows_it_are_not_believed(store, saved, damage, suffix):
    damage(saved[1].with_suffix(suffix))
    assert ranges(store.load(SPACE)) == WHOLE[:1]
    assert ranges(store.load(SPACE)) == WHOLE[:1]


@pytest.mark.parametrize("suffix", [".hnsw", ".json"])
def test_one_flipped_bit_is_enough_not_to_be_believed(store, saved, suffix):
    whole = {path: path.read_bytes() for path in (saved[0], saved[0].with_suffix(".json"))}
    store.clear(SPACE)
    path = saved[0].with_suffix(suffix)
    rng = random.Random(7)
    for position in [0, len(whole[path]) - 1, *(rng.randrange(len(whole[path])) for _ in range(100))]:
        for file, content in whole.items():
            file.write_bytes(content)
        assert ranges(store.load(SPACE)) == WHOLE[:1]
        flipped = bytearray(whole[path])
        flipped[position] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        assert store.load(SPACE) == [], f"byte {position} of {path.name}"


def test_files_of_another_space_under_this_name_are_not_believed(store, saved):
    foreign = Store(store.folder.parent / "foreign")
    foreign.save("other", graphs_of(clustered(SIZE, DIMENSIONS))[0])
    for path in foreign.folder.iterdir():
        shutil.copy(path, saved[0].with_suffix(path.suffix))
    assert store.load(SPACE) == []


def test_files_of_another_range_under_this_name_are_not_believed(store, saved):
    for suffix in (".hnsw", ".json"):
        shutil.copy(saved[2].with_suffix(suffix), saved[1].with_suffix(suffix))
    assert ranges(store.load(SPACE)) == WHOLE[:1]


def test_files_of_another_format_are_not_believed(store, saved):
    described_by = saved[0].with_suffix(".json")
    described_by.write_text(described_by.read_text().replace('"format":1', '"format":2'))
    assert store.load(SPACE) == []


def test_a_crash_between_the_two_renames_leaves_nothing_that_is_believed(store, saved):
    before = saved[0].with_suffix(".json").read_bytes()
    store.save(SPACE, graphs_of(clustered(SIZE, DIMENSIONS, seed=5))[0])
    saved[0].with_suffix(".json").write_bytes(before)
    assert store.load(SPACE) == []


def test_loading_sweeps_what_cannot_be_used_and_nothing_else(store, saved):
    other = store.folder / "of-somebody-else.hnsw"
    other.write_bytes(b"")
    saved[2].with_suffix(".hnsw.part").write_bytes(b"half")
    saved[2].with_suffix(".json.part").write_bytes(b"half")
    damage_truncated(saved[1])
    assert ranges(store.load(SPACE)) == WHOLE[:1]
    assert set(store.folder.iterdir()) == {saved[0], saved[0].with_suffix(".json"), other}


def test_a_disk_that_takes_only_a_part_is_an_error_and_leaves_nothing(tmp_path):
    program = f"""
import resource, sys
from pathlib import Path
from host.search.store import Store
from tests.host.search.test_store import SPACE, clustered, graphs_of
graph = graphs_of(clustered(60, 8))[0]
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, 2_000))
try:
    Store(Path({str(tmp_path / "index")!r})).save(SPACE, graph)
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "only a part of" in done.stdout
    assert list((tmp_path / "index").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error(store):
    store.folder.write_text("in the way")
    with pytest.raises(FileExistsError):
        store.save(SPACE, graphs_of(clustered(SIZE, DIMENSIONS))[0])
    assert store.load(SPACE) == []


SAVING = """
import sys
from pathlib import Path
from tests.host.search.test_store import SPACE, Store, clustered, graphs_of
graphs = [graphs_of(clustered(60 * n, 8, seed=n), size=60 * n)[0] for n in (1, 2, 3)]
store = Store(Path(sys.argv[1]))
print("ready", flush=True)
while True:
    for graph in graphs:
        store.save(SPACE, graph)
"""


def test_a_kill_at_any_moment_of_a_save_leaves_a_whole_graph_or_none(store):
    rng = random.Random(3)
    child = [sys.executable, "-c", SAVING, str(store.folder)]
    for _ in range(4):
        with subprocess.Popen(child, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=rng.uniform(0.01, 0.3))
            process.send_signal(signal.SIGKILL)
        for graph in store.load(SPACE):
            size = graph.newest
            vectors = clustered(size, DIMENSIONS, seed=size // 60)
            assert graph.count == size
            assert graph.vectors(graph.linked()) == pytest.approx(vectors[graph.linked() - 1], abs=1e-6)
        assert not list(store.folder.glob("*.part"))
