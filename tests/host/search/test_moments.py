"""Finds become moments, and rankings become one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.search.moments import NEAR, Find, fused, one_a_moment


def find(event: str, start: float | None = None, end: float | None = None, by: str = "transcript") -> Find:
    return Find(event, event, by, start=start, end=end)


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        (find("a"), find("a"), True),
        (find("a"), find("b"), False),
        (find("a", 5, 7), find("b", 5, 7), False),
        (find("a"), find("a", 0, 1), False),
        (find("a", 100, 105), find("a", 105 + NEAR), True),
        (find("a", 100, 105), find("a", 106 + NEAR), False),
        (find("a", 100, 105), find("a", 100 - NEAR), True),
        (find("a", 100, 200), find("a", 150, 151), True),
    ],
)
def test_finds_of_one_file_are_one_moment_when_they_are_near(one, other, near):
    assert one.is_near(other) is other.is_near(one) is near


def test_the_best_find_stands_for_its_neighbours():
    best, late, near = find("film", 60, 62), find("film", 300, 302), find("film", 66, 68)
    assert one_a_moment([best, late, near], 10) == [best, late]


def test_a_row_of_finds_is_not_one_long_moment():
    row = [find("film", start, start) for start in range(0, 600, 2)]
    kept = one_a_moment(row, 1000)
    assert len(kept) > 600 / (2 * NEAR)
    assert kept[0] == row[0]


def test_no_more_than_asked_for():
    assert one_a_moment([find(name) for name in "abcd"], 2) == [find("a"), find("b")]


def test_first_in_every_ranking_scores_one():
    (moment,) = fused([[find("a")], [find("a", by="picture")]])
    assert moment.score == pytest.approx(1)
    assert [one.by for one in moment.finds] == ["transcript", "picture"]


def test_what_two_rankings_have_goes_before_what_one_has():
    words, pictures = [find("a"), find("b")], [find("c"), find("b")]
    assert [moment.best.event for moment in fused([words, pictures])] == ["b", "a", "c"]


def test_words_and_a_picture_of_one_moment_are_one_hit_at_the_words():
    said, shown = find("film", 60, 64), find("film", 58, 58, by="picture")
    (moment,) = fused([[said], [shown]])
    assert (moment.best, moment.finds) == (said, [said, shown])


def test_of_each_ranking_a_moment_gets_one_place():
    said = find("film", 60, 64)
    shown = [find("film", 50, by="picture"), find("film", 74, by="picture")]
    (moment,) = fused([[said], shown])
    assert moment.score == pytest.approx(1)


@given(
    st.lists(st.lists(st.builds(find, st.sampled_from("abc"), st.none() | st.floats(0, 1000)), max_size=30), max_size=3)
)
def test_whatever_is_found_is_ranked_once_and_best_first(rankings):
    rankings = [one_a_moment(ranking, 20) for ranking in rankings]
    moments = fused(rankings)
    assert all(one.score >= other.score for one, other in itertools.pairwise(moments))
    assert all(0 < moment.score <= 1.0001 for moment in moments)
    found = [one for moment in moments for one in moment.finds]
    assert len(found) == len({id(one) for one in found})
