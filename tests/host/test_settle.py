"""When a file counts as complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from host.settle import Settle

QUIET = 1.0


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settle(clock: Clock) -> Settle[str]:
    return Settle(QUIET, clock)


def test_a_file_is_not_ready_when_it_is_first_seen(settle):
    assert not settle.observe("a", 1)
    assert "a" in settle
    assert len(settle) == 1


def test_a_file_that_stays_the_same_is_ready_after_the_quiet_time(settle, clock):
    settle.observe("a", 1)
    clock.now += QUIET
    assert settle.observe("a", 1)
    assert "a" not in settle


def test_a_change_starts_the_quiet_time_anew(settle, clock):
    settle.observe("a", 1)
    clock.now += 0.9
    assert not settle.observe("a", 2)
    clock.now += 0.9
    assert not settle.observe("a", 2)
    clock.now += 0.1
    assert settle.observe("a", 2)


def test_a_file_that_changed_just_when_it_was_due_waits_on(settle, clock):
    settle.observe("a", 1)
    clock.now += QUIET
    assert not settle.observe("a", 2)
    assert settle.next_due() == clock.now + QUIET


def test_a_forgotten_file_starts_anew(settle, clock):
    settle.observe("a", 1)
    clock.now += QUIET
    settle.forget("a")
    assert not settle.observe("a", 1)


def test_forgetting_what_is_not_waited_for_is_harmless(settle):
    settle.forget("never seen")
    assert len(settle) == 0


def test_each_due_file_is_named_once_in_the_order_of_its_time(settle, clock):
    settle.observe("late", 1)
    clock.now += 0.1
    settle.observe("later", 1)
    assert list(settle.due()) == []
    clock.now += QUIET
    assert list(settle.due()) == ["late", "later"]
    assert list(settle.due()) == []


def test_a_file_that_went_and_came_back_in_the_same_instant_is_due_once(settle, clock):
    settle.observe("a", 1)
    settle.forget("a")
    settle.observe("a", 1)
    clock.now += QUIET
    assert list(settle.due()) == ["a"]


def test_the_next_due_time_passes_over_what_was_forgotten(settle, clock):
    settle.observe("a", 1)
    clock.now += 0.5
    settle.observe("b", 1)
    settle.forget("a")
    assert settle.next_due() == clock.now + QUIET
    settle.forget("b")
    assert settle.next_due() is None


class SettleRules(RuleBasedStateMachine):
    """Against a plain list of what was seen when: ready means seen the same for the whole quiet time, and only then."""

    keys = st.sampled_from("abc")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.settle: Settle[str] = Settle(QUIET, self.clock)
        self.since: dict[str, tuple[int, float]] = {}  # key -> look, and since when it is the same

    @rule(seconds=st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule(key=keys, look=st.integers(0, 2))
    def look_at(self, key: str, look: int) -> None:
        known, since = self.since.get(key, (None, 0.0))
        ready = self.settle.observe(key, look)
        assert ready == (known == look and self.clock.now - since >= QUIET)
        if ready:
            del self.since[key]
        elif known != look:
            self.since[key] = (look, self.clock.now)

    @rule(key=keys)
    def forget(self, key: str) -> None:
        self.settle.forget(key)
        self.since.pop(key, None)

    @rule()
    def look_at_what_is_due(self) -> None:
        due = list(self.settle.due())
        assert len(due) == len(set(due))
        for key in due:
            assert self.clock.now - self.since[key][1] >= QUIET
            self.look_at(key, self.since[key][0])
        assert all(self.clock.now - since < QUIET for _, since in self.since.values())

    @invariant()
    def waits_for_exactly_these(self) -> None:
        assert len(self.settle) == len(self.since)
        assert all(key in self.settle for key in self.since)

    @invariant()
    def the_next_look_is_never_too_late(self) -> None:
        due = self.settle.next_due()
        assert (due is None) == (not self.since)
        assert due is None or due <= min(since for _, since in self.since.values()) + QUIET


TestSettleRules = SettleRules.TestCase


@given(st.lists(st.sampled_from("abcdefgh"), max_size=40))
def test_nothing_is_forgotten_however_often_files_change(changes):
    clock = Clock()
    settle: Settle[str] = Settle(QUIET, clock)
    for number, key in enumerate(changes):
        settle.observe(key, number)
        clock.now += 0.01
    clock.now += QUIET
    assert sorted(settle.due()) == sorted(set(changes))
