"""What is scanned next, and when."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from host.sources.plan import BURST, SCAN_SHARE, ScanPlan

ROOT = "/inbox"
EVERY = 300.0
AGAIN = 2.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def plan(clock: Clock) -> ScanPlan:
    """A plan whose first scan, of everything, is done."""
    plan = ScanPlan(ROOT, EVERY, AGAIN, clock)
    assert plan.take() == [(ROOT, True)]
    return plan


def test_at_first_everything_is_scanned(clock):
    plan = ScanPlan(ROOT, EVERY, AGAIN, clock)
    assert plan.is_pending
    assert plan.next() <= clock.now
    assert plan.take() == [(ROOT, True)]
    assert plan.take() == []
    assert not plan.is_pending


def test_everything_is_scanned_again_after_the_regular_time(plan, clock):
    assert plan.next() == clock.now + EVERY
    clock.now += EVERY
    assert not plan.is_pending  # nobody has to wait for that one
    assert plan.take() == [(ROOT, True)]


def test_a_noticed_directory_is_scanned_at_once_and_alone(plan, clock):
    plan.notice({"/inbox/a": False}, 1)
    plan.notice({"/inbox/a": False, "/inbox/b": False}, 2)
    assert plan.is_pending
    assert plan.next() <= clock.now
    assert plan.take() == [("/inbox/a", False), ("/inbox/b", False)]
    assert not plan.is_pending


def test_a_new_folder_is_scanned_at_once_and_everything_a_little_later(plan, clock):
    plan.notice({"/inbox/new": True}, 1)
    assert plan.take() == [("/inbox/new", True)]
    assert plan.is_pending
    assert plan.next() == clock.now + AGAIN
    clock.now += AGAIN
    assert plan.take() == [(ROOT, True)]
    assert not plan.is_pending


def test_after_a_burst_everything_is_scanned_because_some_may_have_gone_unreported(plan, clock):
    plan.notice({"/inbox/a": False}, BURST - 1)
    plan.take()
    assert not plan.is_pending
    plan.notice({"/inbox/a": False}, 1)
    plan.take()
    clock.now += AGAIN
    assert plan.take() == [(ROOT, True)]


def test_a_burst_that_never_ends_does_not_put_the_scan_off(plan, clock):
    for _ in range(100):
        plan.notice({"/inbox/a": False}, BURST)
        clock.now += AGAIN / 10
        if (ROOT, True) in plan.take():
            return
    raise AssertionError("everything should have been scanned")


def test_a_scan_of_everything_answers_all_that_was_noticed_before(plan, clock):
    plan.notice({"/inbox/a": False}, BURST)
    clock.now += AGAIN
    assert plan.take() == [(ROOT, True)]
    assert plan.take() == []
    assert plan.next() == clock.now + EVERY


def test_after_a_long_scan_there_is_a_rest(plan, clock):
    plan.notice({"/inbox/a": False}, 1)
    plan.took(2.0)
    assert plan.next() == clock.now + 2.0 * SCAN_SHARE
    assert plan.take() == []
    clock.now += 2.0 * SCAN_SHARE
    assert plan.take() == [("/inbox/a", False)]


def test_what_is_asked_for_later_never_delays_what_was_asked_for_sooner(plan, clock):
    plan.ask_whole(1.0)
    plan.ask_whole(5.0)
    assert plan.next() == clock.now + 1.0


def test_polling_is_a_shorter_regular_time(plan, clock):
    plan.every = 0.5
    assert plan.next() == clock.now + 0.5


@given(
    st.lists(
        st.tuples(st.sampled_from(["notice", "new", "ask", "take", "took"]), st.floats(0, 3, allow_nan=False)),
        max_size=60,
    )
)
def test_what_was_noticed_is_always_scanned_afterwards(events):
    clock = Clock()
    plan = ScanPlan(ROOT, EVERY, AGAIN, clock)
    unscanned: set[str] = set()
    for event, number in events:
        clock.now += number
        if event == "take":
            for directory, _ in plan.take():
                unscanned -= {directory} if directory != ROOT else set(unscanned)
        elif event == "took":
            plan.took(number)
        elif event == "ask":
            plan.ask_whole(number)
        else:
            directory = f"/inbox/{int(number)}"
            plan.notice({directory: event == "new"}, 1)
            unscanned.add(directory)
    while unscanned:
        assert plan.is_pending
        assert plan.next() < inf
        clock.now = max(clock.now, plan.next())
        for directory, _ in plan.take():
            unscanned -= {directory} if directory != ROOT else set(unscanned)
