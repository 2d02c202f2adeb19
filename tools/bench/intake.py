"""From a burst in a folder to committed events: our intake beside the stacks that people write by hand."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import aiosqlite
from watchdog.events import FileClosedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from host.app import open_app
from host.config import Config
from host.identify import HEAD, identify
from host.intake import Accepted, Arrival, Intake, Verdict
from tools.bench.bursts import start_burst, write_burst
from tools.bench.report import Figure, Report, spread
from tools.bench.slow_disk import flush_seconds, slow_environment

FILES = 20_000
CONSUMED_FILES = 8_000
REPEATS = 2
PEER_FILES = 2_000
SLOW_FLUSH = 0.004  # seconds
IDLE_END = 15.0
POLL = 0.02


def users_environment(**more: str) -> dict[str, str]:
    """Our environment, in which Python keeps what it compiles: some machines for building say that it must not."""
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}, **more}


@contextlib.contextmanager
def workplace() -> Iterator[Path]:
    """A folder on the disk (not in memory: commits are what is measured), gone afterwards."""
    base = Path(".cache/bench").resolve()
    base.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def measure_ours(after: str, count: int, seed: int) -> tuple[float, int, int]:
    """Seconds from the burst's first file to the last commit; lost and duplicated.

    The same work as beside us: no settling, and jobs are queued but not worked off.
    """
    with workplace() as folder:
        inbox = folder / "inbox"
        inbox.mkdir()
        config = Config.model_validate(
            {
                "paths": {"data": folder / "data", "outbox": folder / "outbox"},
                "inbox": [{"path": inbox, "after": after, "quiet": 0}],
                "plugins": {"clip": {"enabled": False}},
            }
        )
        async with open_app(config) as app:
            app.leases.pause(True)
            known = _accepted_by(app.intake)
            running = asyncio.create_task(app.run())
            await app.sources[0].idle.wait()
            began = time.perf_counter()
            burst = await start_burst(inbox, count, seed)
            await _until(lambda: len(known), count)
            took = time.perf_counter() - began
            await burst.wait()
            await app.sources[0].idle.wait()
            arrivals = (await app.status()).arrivals
            app.stop()
            await running
        left = len(list(inbox.glob("*.png"))) if after == "remove" else 0
        return took, max(0, count - arrivals) + left, max(0, arrivals - count)


def _accepted_by(intake: Intake) -> set[str]:
    """The origins of what an intake has committed so far; asking the journal all the time would be work of ours."""
    origins: set[str] = set()
    accept = intake.accept

    async def counting(arrivals: Sequence[Arrival]) -> list[Verdict]:
        verdicts = await accept(arrivals)
        pairs = zip(arrivals, verdicts, strict=True)
        origins.update(arrival.origin for arrival, verdict in pairs if isinstance(verdict, Accepted))
        return verdicts

    intake.accept = counting  # type: ignore[method-assign]
    return origins


async def _until(count: Callable[[], int], wanted: int) -> None:
    """Until that many are known, or nothing more has come for a while."""
    last, since = -1, time.monotonic()
    while (now := count()) < wanted and time.monotonic() - since < IDLE_END:
        if now != last:
            last, since = now, time.monotonic()
        await asyncio.sleep(POLL)


class _Queued(FileSystemEventHandler):
    """The obvious handler: every closed file into a queue."""

    def __init__(self, queue: asyncio.Queue[str], loop: asyncio.AbstractEventLoop) -> None:
        self._queue = queue
        self._loop = loop

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, os.fsdecode(event.src_path))


@contextlib.asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[asyncio.Queue[str]]:
    """watchdog, into a queue."""
    queue: asyncio.Queue[str] = asyncio.Queue()
    observer = Observer()
    handler = _Queued(queue, asyncio.get_running_loop())
    observer.schedule(handler, str(folder), event_filter=[FileClosedEvent])
    observer.start()
    try:
        yield queue
    finally:
        observer.stop()
        await asyncio.to_thread(observer.join)


async def open_rows(path: Path) -> aiosqlite.Connection:
    """A database as durable as the journal: WAL, synchronous FULL."""
    database = await aiosqlite.connect(path, isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        await database.execute(f"PRAGMA {pragma}")
    await database.execute(
        "CREATE TABLE events (path TEXT PRIMARY KEY, sha256 TEXT, size INTEGER, type TEXT, seen REAL)"
    )
    return database


async def measure_obvious(after: str, count: int, seed: int) -> tuple[float, int, int]:
    """watchdog → queue → hash and type → (copy, fsync) → one committed row; seconds, and how many it lost."""
    consume = after == "remove"
    with workplace() as folder:
        inbox, library = folder / "inbox", folder / "library"
        inbox.mkdir()
        library.mkdir()
        database = await open_rows(folder / "rows.db")
        async with watched(inbox) as queue:
            began = time.perf_counter()
            burst = await start_burst(inbox, count, seed)
            done, last = 0, began
            while done < count:
                try:
                    async with asyncio.timeout(5):
                        path = await queue.get()
                except TimeoutError:
                    break
                row = await asyncio.to_thread(_take, path, library if consume else None)
                await database.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?)", (*row, time.time()))
                if consume:
                    os.unlink(path)
                done, last = done + 1, time.perf_counter()
            await burst.wait()
        await database.close()
        return last - began, count - _rows(folder / "rows.db"), 0


def _take(path: str, library: Path | None) -> tuple[str, str, int, str]:
    with open(path, "rb") as file:
        body = file.read()
    sha256 = hashlib.sha256(body).hexdigest()
    identity = identify(body[:HEAD], path) or ("", "")
    if library is not None:
        with open(library / sha256, "wb") as copy:
            copy.write(body)
            copy.flush()
            os.fsync(copy.fileno())
    return path, sha256, len(body), identity[1]


def _rows(path: Path) -> int:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return int(database.execute("SELECT count(*) FROM events").fetchone()[0])


SIDES = {"ours": measure_ours, "obvious": measure_obvious}
Run = tuple[float, int, int]


def measured(side: str, after: str, count: int, seed: int, delay: float) -> Run:
    """One measurement in a process of its own, on this disk or on one whose flush takes longer by `delay` seconds."""
    with workplace() as folder:
        environment = slow_environment(folder, delay) if delay else dict(os.environ)
        command = [sys.executable, "-m", "tools.bench.intake", side, after, str(count), str(seed)]
        answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    took, lost, twice = json.loads(answer.stdout.splitlines()[-1])
    return took, lost, twice


def writer_rate(count: int) -> float:
    """Files a second that the burst's writer makes when nobody watches: no intake is faster than that."""
    with workplace() as folder:
        began = time.perf_counter()
        write_burst(folder, count, 0)
        return count / (time.perf_counter() - began)


def keep_in_place() -> Report:
    """(a) A keep-in-place inbox: the same scan, hash, type and rows on both sides."""
    title = f"{FILES:,} small files in one burst, arrival to committed event, files left where they are"
    beside = "watchdog, a queue, aiosqlite with one FULL commit a row"
    return _burst("keep_in_place", title, beside, "keep", FILES)


def consuming() -> Report:
    """(b) A consuming inbox: content durable in the library before the file goes."""
    title = f"{CONSUMED_FILES:,} small files in one burst, content durable in the library, row committed, file removed"
    beside = "each file copied, synced and committed by itself"
    return _burst("consuming", title, beside, "remove", CONSUMED_FILES)


def _burst(name: str, title: str, beside: str, after: str, files: int) -> Report:
    with workplace() as folder:
        flush = flush_seconds(folder)
    written = writer_rate(files)
    figures, runs, peers = [], [], []
    for delay in (0.0, max(0.0, SLOW_FLUSH - flush)):
        ours = [measured("ours", after, files, seed, delay) for seed in range(REPEATS)]
        peer = measured("obvious", after, PEER_FILES, 99, delay)
        figures.append(_figure(files, flush + delay, [took for took, _, _ in ours], peer))
        runs += ours
        peers.append(peer)
    fastest = written / _rate(peers[0], PEER_FILES)
    notes = [
        f"Beside us: {beside}; {PEER_FILES:,} files, as its rate does not depend on the number; it lost "
        f"{sum(lost for _, lost, _ in peers)}. A flush takes {flush * 1e3:.2f} ms on this disk; the second line adds "
        f"to every flush of both sides what makes it {SLOW_FLUSH * 1e3:g} ms, as on many consumer drives. The burst's "
        f"writer makes {written:.0f} files a second when nobody watches, so that no intake can be more than "
        f"{fastest:.1f} times that peer on this disk."
    ]
    lost, twice = sum(lost for _, lost, _ in runs), sum(twice for _, _, twice in runs)
    return Report(name, title, lost, twice, figures, notes)


def _rate(run: Run, files: int) -> float:
    return (files - run[1]) / run[0]


def _figure(files: int, flush: float, ours: list[float], peer: Run) -> Figure:
    rate, peer_rate = files / statistics.median(ours), _rate(peer, PEER_FILES)
    what = f"files a second, a flush taking {flush * 1e3:.1f} ms"
    return Figure(what, f"{rate:.0f}/s: {spread(ours)}", f"{peer_rate:.0f}/s", rate / peer_rate, 8, True)


if __name__ == "__main__":
    chosen, rule, number, random_seed = sys.argv[1:]
    print(json.dumps(asyncio.run(SIDES[chosen](rule, int(number), int(random_seed)))))
