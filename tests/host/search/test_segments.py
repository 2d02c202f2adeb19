"""A block finds what is nearest, a graph nearly all of it, and neither what was removed."""

import numpy as np
import pytest

from host.search.segments import Block, Graph
from tests.host.search.vectors import clustered, truly_nearest, unit


def block_of(vectors: np.ndarray, first: int = 1, capacity: int | None = None) -> Block:
    block = Block(first - 1, vectors.shape[1], capacity or len(vectors))
    block.add(np.arange(first, first + len(vectors)), vectors)
    return block


def graph_of(vectors: np.ndarray, first: int = 1) -> Graph:
    block = block_of(vectors, first)
    graph = Graph.for_block(block, vectors.shape[1])
    for _ in graph.fill(block, 500):
        pass
    return graph


def found(segment: Block | Graph, query: np.ndarray, limit: int) -> list[int]:
    labels, scores = segment.nearest(query, limit)
    return labels[np.argsort(-scores, kind="stable")].tolist()


def test_a_block_finds_exactly_what_is_nearest():
    vectors = clustered(500, 16)
    block = block_of(vectors, capacity=800)
    for query in clustered(20, 16, seed=1):
        assert found(block, query, 10) == [row + 1 for row in truly_nearest(vectors, query, 10)]


@pytest.mark.parametrize("dimensions", [32, 128])
def test_a_graph_finds_99_of_100_of_what_is_nearest(dimensions):
    vectors = clustered(5_000, dimensions)
    graph = graph_of(vectors)
    queries = unit(vectors[::50] + 0.3 * clustered(100, dimensions, seed=2))
    truth = [{row + 1 for row in truly_nearest(vectors, query, 10)} for query in queries]
    hits = sum(len(true & set(found(graph, query, 10))) for true, query in zip(truth, queries, strict=True))
    assert hits >= 0.99 * 10 * len(queries)


def test_scores_are_cosines():
    vectors = clustered(300, 8)
    for segment in (block_of(vectors), graph_of(vectors)):
        labels, scores = segment.nearest(vectors[7], 5)
        assert scores == pytest.approx(vectors[labels - 1] @ vectors[7], abs=1e-6)


def test_a_block_takes_what_there_is_room_for():
    block = Block(40, 4, 10)
    assert block.add(np.arange(41, 48), clustered(7, 4)) == 7
    assert (block.is_full, block.newest) == (False, 47)
    assert block.add(np.arange(48, 55), clustered(7, 4)) == 3
    assert (block.is_full, block.newest, block.after) == (True, 50, 40)


@pytest.mark.parametrize("make", [block_of, graph_of])
def test_what_was_removed_is_never_found(make):
    vectors = clustered(400, 8)
    segment = make(vectors)
    gone = list(range(1, 400, 3))
    assert sorted(segment.remove([*gone, 9_999])) == gone
    assert segment.remove(gone).tolist() == []
    assert segment.present == 400 - len(gone)
    assert sorted(found(segment, vectors[0], segment.present)) == sorted(set(range(1, 401)) - set(gone))


def test_what_differs_from_thousands_of_copies_is_found(tmp_path):
    vectors = np.concatenate([np.repeat(clustered(1, 16), 2_000, axis=0), clustered(50, 16, seed=3)])
    graph = graph_of(vectors)
    assert len(graph.apart) > 0, "nothing was set apart: this rule is not tested"
    graph.save(tmp_path / "graph")
    again = Graph.load(tmp_path / "graph", 16, graph.after, graph.newest, graph.apart.tolist())
    for label in range(2_001, 2_051):
        assert found(graph, vectors[label - 1], 5)[0] == found(again, vectors[label - 1], 5)[0] == label
    graph.remove([2_001])
    assert 2_001 not in found(graph, vectors[2_000], 2_049)


@pytest.mark.parametrize("limit", [10, 200, 1_000])
@pytest.mark.parametrize("dimensions", [2, 16])
def test_a_graph_gives_as_many_as_were_asked_for_even_of_copies_that_no_link_leads_to(dimensions, limit):
    graph = graph_of(np.repeat(clustered(10, dimensions), 100, axis=0))
    for query in clustered(20, dimensions, seed=8):
        answer = found(graph, query, limit)
        assert len(answer) == len(set(answer)) >= limit


def test_a_graph_that_is_saved_and_loaded_answers_alike(tmp_path):
    vectors = clustered(600, 16)
    graph = graph_of(vectors, first=101)
    graph.save(tmp_path / "graph")
    again = Graph.load(tmp_path / "graph", 16, graph.after, graph.newest, graph.apart.tolist())
    assert (again.after, again.newest, again.count, again.dimensions) == (100, 700, 600, 16)
    for query in clustered(10, 16, seed=1):
        assert found(again, query, 10) == found(graph, query, 10)


def test_a_block_of_which_nothing_is_left_becomes_an_empty_graph(tmp_path):
    block = block_of(clustered(20, 4))
    block.remove(range(1, 21))
    graph = Graph.for_block(block, 4)
    assert list(graph.fill(block, 20)) == [None, None]
    graph.save(tmp_path / "graph")
    again = Graph.load(tmp_path / "graph", 4, graph.after, graph.newest, graph.apart.tolist())
    assert (again.count, again.present, again.newest) == (0, 0, 20)
