"""Killed at any moment, the host loses nothing and repeats no effect.

SENSORIUM_TEST_KILLS sets how often it is killed at random moments.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from host.sources.scan import CLAIM
from host.steps import STEPS
from tests.end_to_end.host_process import Place, host, run_once, said

KILLS = int(os.environ.get("SENSORIUM_TEST_KILLS", "10"))
A_ROUND = 60  # files that come before each start
LONG = "x" * 247 + ".txt"  # no room in its name for anything
EACH_FILE = ("claimed", "hashed", "before unlink", "after unlink")  # other steps are of a group


def write(place: Place, names: list[str]) -> dict[str, bytes]:
    """Files with a content of their own each, in an inbox that a host may be watching."""
    contents = {name: f"{name} says {random.random()}".encode() for name in names}
    for name, content in contents.items():
        path = place.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return contents


def finish(place: Place) -> None:
    """Start the host until one run ends by itself."""
    assert run_once(place) == 0, place.last_log()


def check(place: Place, contents: dict[str, bytes]) -> None:
    """Every file: one arrival, one event, one result, one sidecar, its content in the library; and nothing else."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    arrivals = [row["origin"] for row in place.rows("SELECT origin FROM arrivals WHERE state = 'accepted'")]
    assert sorted(arrivals) == sorted(contents)
    events = place.rows("SELECT origin, sha256 FROM events")
    assert sorted((row["origin"], row["sha256"]) for row in events) == sorted(digests.items())
    jobs = place.rows("SELECT e.origin, j.plugin, j.state FROM jobs j JOIN events e ON e.id = j.event_id")
    assert sorted((row["origin"], row["plugin"], row["state"]) for row in jobs) == [
        (name, "measure", "done") for name in sorted(contents)
    ]
    results = place.rows("SELECT e.sha256, r.data FROM results r JOIN events e ON e.id = r.event_id")
    assert sorted(row["sha256"] for row in results) == sorted(digests.values())
    assert all(json.loads(row["data"])["sha256"] == row["sha256"] for row in results)
    check_files(place, digests)
    assert place.count("deliveries") == 0


def check_files(place: Place, digests: dict[str, str]) -> None:
    sidecars = {str(path.relative_to(place.outbox)): path for path in place.outbox.rglob("*") if not path.is_dir()}
    assert len(sidecars) == len(digests)
    found = {}
    for path in sidecars.values():
        body = json.loads(path.read_bytes())
        [result] = body["results"]
        assert body["failures"] == []
        found[body["event"]["origin"]] = result["data"]["sha256"]
    assert found == digests
    assert sorted(name for name in sidecars if len(name) < 200) == sorted(f"{n}.json" for n in digests if len(n) < 200)
    library = {path for path in (place.data / "library").rglob("*") if path.is_file()}
    assert {path.stem for path in library} == set(digests.values())
    assert len(library) == len(digests)  # with an empty library/incoming
    assert all(hashlib.sha256(path.read_bytes()).hexdigest() == path.stem for path in library)


def left(inbox: Path) -> list[str]:
    return sorted(str(path.relative_to(inbox)) for path in inbox.rglob("*") if not path.is_dir() or CLAIM in path.name)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.measure()
    return place


def kill_at_each(place: Place, steps: Sequence[str], names: Callable[[int], list[str]]) -> dict[str, bytes]:
    """New files and a host that is killed, for each step in turn: each start finds what the last kill left."""
    contents: dict[str, bytes] = {}
    for number, step in enumerate(steps):
        contents |= write(place, names(number))
        nth = 2 if step in EACH_FILE else 1
        assert run_once(place, kill_at=(step, nth)) == -signal.SIGKILL, (step, place.last_log())
    return contents


def test_killed_at_each_step_it_loses_nothing_and_repeats_nothing(place):
    contents = kill_at_each(
        place, STEPS, lambda number: [*(f"{number}/{one}.txt" for one in range(20)), f"{number}/{LONG}"]
    )
    finish(place)
    check(place, contents)
    assert left(place.inbox) == []


@pytest.mark.parametrize(
    ("after", "steps"),
    [
        ("done", ["hashed", "committed", "before unlink", "after unlink"]),
        ("keep", ["hashed", "committed", "worker busy"]),
    ],
)
def test_killed_at_a_step_it_keeps_every_file_where_the_rule_says(place, after, steps):
    place.inbox_settings = {"after": after}
    contents = kill_at_each(place, steps, lambda number: [f"{number}/{one}.txt" for one in range(10)])
    finish(place)
    finish(place)  # and once more: nothing comes a second time
    assert sorted(contents) == sorted(row["origin"] for row in place.rows("SELECT origin FROM arrivals"))
    assert place.count("events") == place.count("results") == len(contents)
    kept = place.inbox / "done" if after == "done" else place.inbox
    assert left(place.inbox) == sorted(str((kept / name).relative_to(place.inbox)) for name in contents)
    assert all((kept / name).read_bytes() == content for name, content in contents.items())


@pytest.mark.timeout(60 + 10 * KILLS)
def test_killed_at_random_moments_under_load_it_loses_nothing_and_repeats_nothing(place):
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    print(f"seed {seed}, {KILLS} kills")
    contents: dict[str, bytes] = {}
    numbers = itertools.count()
    for _ in range(KILLS):
        names = [f"{number % 5}/{number}.txt" for number in itertools.islice(numbers, A_ROUND)]
        contents |= write(place, names[: A_ROUND // 2])
        with host(place) as process:
            said(process, "claimed")
            contents |= write(place, names[A_ROUND // 2 :])
            time.sleep(moments.uniform(0, 0.8))
            process.kill()
    finish(place)
    check(place, contents)
    assert left(place.inbox) == []
