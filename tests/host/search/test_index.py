"""An index answers as a plain comparison with every vector would, however it is made of blocks and graphs."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from host.errors import HostError
from host.search.index import VectorIndex, unit_vectors
from tests.host.search.vectors import clustered

DIMENSIONS = 4


def rows_of(vectors: list[Any], first: int = 1) -> list[dict[str, Any]]:
    """Rows as the journal gives them."""
    blobs = [vector if isinstance(vector, bytes) else np.asarray(vector, np.float32).tobytes() for vector in vectors]
    return [{"id": first + n, "event_id": f"event-{first + n}", "vector": blob} for n, blob in enumerate(blobs)]


def make_graphs(index: VectorIndex) -> None:
    while (block := index.full_block()) is not None:
        graph = index.graph_for(block)
        for _ in graph.fill(block, 5):
            pass
        index.replace(block, graph)


VECTORS = st.lists(st.integers(-3, 3), min_size=DIMENSIONS, max_size=DIMENSIONS).filter(any)
STEPS = st.one_of(
    st.tuples(st.just("add"), st.lists(VECTORS, min_size=1, max_size=12)),
    st.tuples(st.just("remove"), st.lists(st.integers(1, 60), max_size=10)),
    st.tuples(st.just("graphs"), st.none()),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=12), VECTORS, st.integers(1, 70))
def test_it_answers_like_a_comparison_with_all_that_is_left(steps, query, limit):
    index, truth = VectorIndex(capacity=6), {}
    for step, argument in steps:
        if step == "add":
            rows = rows_of(argument, first=index.newest + 1)
            assert index.add(rows) == []
            truth.update({row["id"]: vector for row, vector in zip(rows, argument, strict=True)})
        elif step == "remove":
            index.remove(argument)
            truth = {label: vector for label, vector in truth.items() if label not in argument}
        else:
            make_graphs(index)
    query = np.array(query, np.float32)
    ids, scores = index.nearest(query.tobytes(), limit)
    expected = {label: _cosine(vector, query) for label, vector in truth.items()}
    assert index.present == len(truth)
    assert scores == pytest.approx(sorted(expected.values(), reverse=True)[:limit], abs=1e-5)
    assert scores == pytest.approx([expected[label] for label in ids], abs=1e-5)
    assert len(set(ids)) == len(ids)


def _cosine(one: list[int], other: np.ndarray) -> float:
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def test_what_is_no_vector_is_named_and_the_others_are_found():
    good = clustered(3, DIMENSIONS)
    strange = [[math.nan, 0, 0, 1], [math.inf, 0, 0, 1], [0, 0, 0, 0], b"abc", b"", bytes(4 * 5)]
    index = VectorIndex(capacity=100)
    assert index.add(rows_of([*strange, *good])) == [f"event-{n}" for n in range(1, 7)]
    assert index.newest == 9
    assert index.nearest(good[2].tobytes(), 10)[0][0] == 9
    assert index.present == 3


def test_the_first_vector_does_not_decide_alone_how_long_vectors_are():
    index = VectorIndex(capacity=100)
    assert index.add(rows_of([np.ones(7), *clustered(5, DIMENSIONS)])) == ["event-1"]
    assert index.dimensions == DIMENSIONS


def test_a_space_without_a_usable_vector_gives_nothing_and_waits_for_one():
    index = VectorIndex(capacity=100)
    assert index.nearest(np.ones(DIMENSIONS, np.float32).tobytes(), 5) == ([], [])
    assert index.add(rows_of([b"", b"abc"])) == ["event-1", "event-2"]
    assert index.nearest(np.ones(DIMENSIONS, np.float32).tobytes(), 5) == ([], [])
    assert index.add(rows_of(list(clustered(2, DIMENSIONS)), first=3)) == []
    assert index.nearest(np.ones(DIMENSIONS, np.float32).tobytes(), 5)[0] != []


def test_rows_that_are_known_already_are_not_taken_twice():
    index = VectorIndex(capacity=100)
    rows = rows_of(list(clustered(8, DIMENSIONS)))
    index.add(rows[:5])
    index.add(rows)
    index.add(rows)
    assert index.present == 8


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (np.ones(3, np.float32).tobytes(), "has 3 numbers, the stored ones have 4"),
        (b"abc", "has 0.75 numbers"),
        (np.zeros(4, np.float32).tobytes(), "is zero"),
        (np.full(4, math.nan, np.float32).tobytes(), "not finite"),
    ],
)
def test_a_vector_that_cannot_be_compared_is_refused_with_the_reason(vector, message):
    index = VectorIndex(capacity=100)
    index.add(rows_of(list(clustered(5, DIMENSIONS))))
    with pytest.raises(HostError, match=message) as caught:
        index.nearest(vector, 3)
    assert caught.value.hint


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_gives_nothing(limit):
    index = VectorIndex(capacity=100)
    index.add(rows_of(list(clustered(5, DIMENSIONS))))
    assert index.nearest(np.ones(DIMENSIONS, np.float32).tobytes(), limit) == ([], [])


def test_vectors_of_any_length_are_compared_by_their_direction():
    index = VectorIndex(capacity=100)
    index.add(rows_of([[1e30, 0, 0, 0], [1e-30, 1e-30, 0, 0], [0, 0, 3, 0]]))
    ids, scores = index.nearest(np.array([5, 0, 0, 0], np.float32).tobytes(), 3)
    assert ids == [1, 2, 3]
    assert scores == pytest.approx([1, math.sqrt(0.5), 0], abs=1e-6)


def test_what_is_removed_while_its_graph_is_built_is_not_in_the_graph():
    vectors = clustered(50, DIMENSIONS)
    index = VectorIndex(capacity=50)
    index.add(rows_of(list(vectors)))
    block = index.full_block()
    assert block is not None
    graph = index.graph_for(block)
    steps = graph.fill(block, 10)
    next(steps)
    index.remove([3, 40])
    for _ in steps:
        pass
    index.remove([7])
    index.replace(block, graph)
    assert index.segments == [graph]
    assert sorted(index.nearest(vectors[0].tobytes(), 50)[0]) == sorted(set(range(1, 51)) - {3, 7, 40})


def test_an_index_is_mostly_removed_when_less_than_half_is_left():
    index = VectorIndex(capacity=10)
    index.add(rows_of(list(clustered(20, DIMENSIONS))))
    make_graphs(index)
    index.remove(range(1, 11))
    assert not index.is_mostly_removed
    index.remove([11])
    assert index.is_mostly_removed


def test_a_graph_agrees_with_the_vectors_it_was_built_from_and_no_others():
    rows = rows_of(list(clustered(40, DIMENSIONS)))
    index = VectorIndex(capacity=20)
    index.add(rows)
    make_graphs(index)
    sample = index.sample()
    assert {20, 40} <= set(sample)
    chosen = [row for row in rows if row["id"] in sample]
    assert index.agrees(chosen)
    for row in chosen:
        other = {**row, "vector": (-np.frombuffer(row["vector"], np.float32)).tobytes()}
        assert not index.agrees([other if one is row else one for one in chosen])


@given(st.lists(st.binary(max_size=20), max_size=8), st.integers(0, 5))
def test_any_bytes_are_either_a_unit_vector_or_unusable(blobs, dimensions):
    vectors, usable = unit_vectors(blobs, dimensions)
    assert (len(usable), len(vectors)) == (len(blobs), usable.sum())
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(vectors)), abs=1e-4)
