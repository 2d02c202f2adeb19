"""(d) What it costs to ask a worker: a small job, and one that answers with 10 MiB; a process pool beside it."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from hooks.model import Device, ModelSpec
from hooks.wire import Message
from host.workers import Launch, Worker
from tools.bench.report import Figure, Report

SMALL = 2000
LARGE = 60
REPEATS = 5
DEVICE = Device(name="light", kind="none", memory_mb=1024)


def event(kind: str) -> dict[str, Any]:
    """An event's payload."""
    return {
        "kind": kind, "id": "0" * 20, "media_type": "text/plain", "sha256": "0" * 64, "size": 3, "path": "/dev/null",
        "name": "a.txt", "source": "bench", "origin": "a.txt", "created": 0.0,
    }  # fmt: skip


async def ask(worker: Worker, kind: str) -> int:
    """One request; bytes of the blob that came back, which is readable in place."""
    received = 0

    def count(message: Message) -> None:
        nonlocal received
        received += sum(memoryview(blob).nbytes for blob in message.blobs)

    await worker.request({"op": "run", "hook": f"on_{kind}", "events": [event(kind)]}, limit=30, each=count)
    return received


async def time_worker(kind: str, count: int) -> tuple[list[float], int]:
    """Median seconds of each repeat, after a warm-up; and how many answers were not whole."""
    wrong, medians = 0, []
    with tempfile.TemporaryDirectory() as scratch:
        spec = ModelSpec(name="echo", device="none")
        worker = Worker(Launch("echo", "tools.bench.echo_plugin", spec, DEVICE, {}, Path(scratch)))
        await worker.start()
        await worker.load()
        for repeat in range(REPEATS + 1):
            times = []
            for _ in range(count):
                began = time.perf_counter()
                received = await ask(worker, kind)
                times.append(time.perf_counter() - began)
                wrong += received != (10 * 1024 * 1024 if kind == "data" else 0)
            if repeat:
                medians.append(statistics.median(times))
        await worker.stop()
    return medians, wrong


def _echo(size: int) -> bytes:
    return b"\1" * size


def time_pool(size: int, count: int) -> float:
    """The same question to a process pool, which pickles."""
    with ProcessPoolExecutor(1) as pool:
        pool.submit(_echo, size).result()
        times = []
        for _ in range(count):
            began = time.perf_counter()
            pool.submit(_echo, size).result()
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def round_trip() -> Report:
    """Small and large, with the plain way beside it."""
    small, wrong_small = asyncio.run(time_worker("text", SMALL))
    large, wrong_large = asyncio.run(time_worker("data", LARGE))
    pool_small, pool_large = time_pool(10, SMALL), time_pool(10 * 1024 * 1024, LARGE)
    figures = [
        _figure("small job", small, pool_small, 150, 1e6, "µs"),
        _figure("10 MiB array", large, pool_large, 2, 1e3, "ms"),
    ]
    notes = [f"Medians of {REPEATS} repeats of {SMALL} and {LARGE}, the best judged; beside us a ProcessPoolExecutor."]
    title = "From the host to a worker and back, through the hook"
    return Report("round_trip", title, wrong_small + wrong_large, 0, figures, notes)


def _figure(what: str, ours: list[float], peer: float, bound: float, scale: float, unit: str) -> Figure:
    best, worst = min(ours) * scale, max(ours) * scale
    return Figure(what, f"{best:.2f} to {worst:.2f} {unit}", f"{peer * scale:.2f} {unit}", best, bound, False, unit)
