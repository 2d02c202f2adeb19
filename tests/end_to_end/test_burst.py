"""Many small files at once, while the reader of the kernel's notifications sleeps: none is lost, none comes twice.

SENSORIUM_TEST_BURST sets how many.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from tests.end_to_end.host_process import Place, host, said, stop, until

FILES = int(os.environ.get("SENSORIUM_TEST_BURST", "10000"))
STALL = 2.0
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")
FOLDERS = 10


def write_burst(inbox: Path) -> dict[str, str]:
    """The files, as fast as they can be written, one in ten in a folder that is new; their hashes by name."""
    digests = {}
    for number in range(FILES):
        folder, is_deeper = number // 10 % FOLDERS, number % 10 == 0
        name = f"{folder}/{number}.txt" if is_deeper else f"{number}.txt"
        if is_deeper:
            (inbox / str(folder)).mkdir(exist_ok=True)
        content = f"the file with the number {number}\n".encode()
        (inbox / name).write_bytes(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def peak_memory(pid: int) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines() if Path("/proc/self/status").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("VmHWM")), "unknown")


@pytest.mark.timeout(120 + FILES // 50)
@pytest.mark.parametrize("after", ["keep", "remove"])
def test_a_burst_with_a_stalled_reader_loses_nothing_and_takes_nothing_twice(tmp_path, after):
    place = Place(tmp_path, {"after": after, "quiet": 0.5})
    with host(place, stall=STALL) as process:
        said(process, "idle")
        started = time.monotonic()
        digests = write_burst(place.inbox)
        place.wake_reader()
        written = time.monotonic()
        until(lambda: place.count("arrivals") >= FILES, limit=60 + FILES / 100)
        committed = time.monotonic()
        until(lambda: place.count("deliveries") == 0, limit=60 + FILES / 100)
        delivered = time.monotonic()
        memory = peak_memory(process.pid)
        assert stop(process) == 0
    print(
        f"\n{after}: {FILES} files written in {written - started:.1f} s, committed after {committed - started:.1f} s, "
        f"sidecars after {delivered - started:.1f} s; host at most {memory}"
    )
    if QUEUE.exists() and int(QUEUE.read_text()) < 1.8 * FILES:  # nine in ten are made and closed in a watched folder
        assert "queue overflowed" in place.last_log()
    arrivals = [row["origin"] for row in place.rows("SELECT origin FROM arrivals")]
    assert len(arrivals) == len(set(arrivals))
    assert set(arrivals) == set(digests)
    events = {row["origin"]: row["sha256"] for row in place.rows("SELECT origin, sha256 FROM events")}
    assert events == digests
    sidecars = {str(path.relative_to(place.outbox)) for path in place.outbox.rglob("*") if path.is_file()}
    assert sidecars == {f"{name}.json" for name in digests}
    check_where_they_lie(place, after, digests)


def check_where_they_lie(place: Place, after: str, digests: dict[str, str]) -> None:
    inbox = {str(path.relative_to(place.inbox)) for path in place.inbox.rglob("*") if path.is_file()}
    library = {path.stem for path in (place.data / "library").rglob("*") if path.is_file()}
    if after == "keep":
        assert inbox == set(digests)
        assert library == set()
    else:
        assert inbox == set()
        assert library == set(digests.values())
