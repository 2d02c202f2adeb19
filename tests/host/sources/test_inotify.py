"""Of what inotify tells, one file in each directory is enough; of directories everything is."""

from __future__ import annotations

import sys

import pytest

if not sys.platform.startswith("linux"):
    pytest.skip("only Linux has inotify", allow_module_level=True)

from watchdog.observers.inotify_c import InotifyConstants as In
from watchdog.observers.inotify_c import InotifyEvent

from host.sources.inotify import reduced
from host.sources.scan import CLAIM

HERE, THERE = 1, 2


def event(mask: int, wd: int = HERE, name: bytes = b"cat.png") -> InotifyEvent:
    return InotifyEvent(wd, mask, 0, name)


def test_a_burst_in_two_directories_is_told_twice_and_counted():
    burst = [event(mask, wd) for _ in range(50) for wd in (HERE, THERE) for mask in (In.IN_CREATE, In.IN_CLOSE_WRITE)]
    wanted, skipped = reduced(burst)
    assert [one.wd for one in wanted] == [HERE, THERE]
    assert len(wanted) + skipped == len(burst)


def test_a_file_that_was_moved_in_is_told():
    moved = event(In.IN_MOVED_TO)
    assert reduced([event(In.IN_MOVED_FROM, THERE), moved]) == ([moved], 0)


def test_everything_about_directories_is_told_in_order():
    events = [
        event(In.IN_ISDIR | mask, name=name)
        for name in (b"a", b"b")
        for mask in (In.IN_CREATE, In.IN_MOVED_FROM, In.IN_MOVED_TO)
    ]
    assert reduced(events) == (events, 0)


def test_an_overflow_and_the_end_of_a_watch_are_told():
    events = [event(In.IN_CREATE), event(In.IN_Q_OVERFLOW, -1), event(In.IN_IGNORED), event(In.IN_DELETE_SELF)]
    assert reduced(events) == (events, 0)


def test_claims_are_the_hosts_own_doing():
    claim = CLAIM.encode() + b"cat.png"
    assert reduced([event(In.IN_MOVED_FROM), event(In.IN_MOVED_TO, name=claim)]) == ([], 0)
