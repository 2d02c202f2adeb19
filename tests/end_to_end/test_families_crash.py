"""Killed while files are made of others, worked on and gathered, the host loses nothing and repeats nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from host.steps import FAMILY_STEPS
from tests.end_to_end.host_process import Place, host, run_once, said
from tests.host.families import GATHERER, READER, SPLITTER
from tests.plugin_kit import install_plugin

KILLS = int(os.environ.get("SENSORIUM_TEST_KILLS", "10"))
LINES = 40  # more than one batch
STEPS = [*((step, 1) for step in ("committed", "worker busy", *FAMILY_STEPS, "results committed", "before sidecar"))]
LATER = [("worker busy", nth) for nth in (2, 3, 4)] + [("results committed", nth) for nth in (2, 3, 4)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    for name, source in {"splitter": SPLITTER, "reader": READER, "gatherer": GATHERER}.items():
        install_plugin(place.site, name, source)
    return place


def write(place: Place, name: str) -> None:
    lines = [f"{number / 2},{name} {number},x" for number in range(LINES)]
    (place.inbox / name).write_text("\n".join(lines) + "\n")


def check(place: Place, names: list[str]) -> None:
    """Each list: every line one event with one result, gathered once in one sidecar; no file left anywhere else."""
    made = place.rows("SELECT p.name AS list, e.moment, e.stale FROM events e JOIN events p ON e.parent = p.id")
    expected = sorted((name, number / 2, 0) for name in names for number in range(LINES))
    assert sorted(tuple(row) for row in made) == expected
    jobs = place.rows("SELECT plugin, state, count(*) AS n FROM jobs GROUP BY plugin, state ORDER BY plugin")
    assert [tuple(row) for row in jobs] == [
        ("gatherer", "done", len(names)), ("reader", "done", LINES * len(names)), ("splitter", "done", len(names)),
    ]  # fmt: skip
    results = place.rows("SELECT plugin, count(*) AS n FROM results GROUP BY plugin ORDER BY plugin")
    assert [tuple(row) for row in results] == [("gatherer", len(names)), ("reader", LINES * len(names))]
    assert sorted(path.name for path in place.outbox.rglob("*") if path.is_file()) == sorted(f"{n}.json" for n in names)
    for name in names:
        [result] = json.loads((place.outbox / f"{name}.json").read_bytes())["results"]
        texts = [f"{name} {number}" for number in range(LINES)]
        assert result["data"]["lines"] == [f"{n / 2:g} {text} has {len(text)}" for n, text in enumerate(texts)]
    assert place.count("deliveries") == 0
    library = [path for path in (place.data / "library").rglob("*") if path.is_file()]
    assert len(library) == len(names) * (1 + LINES)


def test_killed_at_each_step_a_family_is_whole_in_the_end(place):
    names = []
    for step, nth in STEPS + LATER:
        names.append(f"{step.replace(' ', '-')}-{nth}.csv")
        write(place, names[-1])
        assert run_once(place, kill_at=(step, nth)) == -signal.SIGKILL, (step, nth, place.last_log())
    assert run_once(place) == 0, place.last_log()
    check(place, names)
    assert run_once(place) == 0  # and once more: nothing comes a second time
    check(place, names)


@pytest.mark.timeout(60 + 10 * KILLS)
def test_killed_at_random_moments_a_family_is_whole_in_the_end(place):
    seed = random.randrange(2**32)
    moments = random.Random(seed)
    print(f"seed {seed}, {KILLS} kills")
    names = []
    for number in range(KILLS):
        names += [f"{number}-{one}.csv" for one in range(3)]
        for name in names[-3:]:
            write(place, name)
        with host(place) as process:
            said(process, "claimed")
            time.sleep(moments.uniform(0, 1.5))
            process.kill()
    assert run_once(place) == 0, place.last_log()
    check(place, names)
