"""(e) How late the host's event loop is while both cores are busy with inference."""

from __future__ import annotations

import asyncio
import threading
import time

from host.app import App, open_app
from host.config import Config
from tools.bench.intake import workplace
from tools.bench.report import Figure, Report
from tools.drawn_world import write_samples

FILES = 700
TICK = 0.01
BUSY_THREADS_FOR = 10.0


async def sample(lags: list[float], wanted: threading.Event | None = None, app: App | None = None) -> None:
    """Note how late each tick is, as long as a model is at work (or the event is not set)."""
    while wanted is None or not wanted.is_set():
        began = time.perf_counter()
        await asyncio.sleep(TICK)
        if app is None or any(slot.state == "busy" for slot in app.leases.slots.values()):
            lags.append(time.perf_counter() - began - TICK)


async def lag_of_host() -> tuple[list[float], int]:
    """Lags while ViT-B-32 works on all cores; and how many files are without a result."""
    with workplace() as folder:
        write_samples(folder / "inbox", FILES, seed=1, size=224)
        config = Config.model_validate(
            {
                "paths": {"data": folder / "data", "outbox": folder / "outbox"},
                "inbox": [{"path": folder / "inbox"}],
                "plugins": {"clip": {"model": "ViT-B-32", "pretrained": "", "top": 0}},
            }
        )
        lags: list[float] = []
        async with open_app(config) as app:
            sampler = asyncio.create_task(sample(lags, app=app))
            summary = await app.run(once=True)
            sampler.cancel()
        return lags, 2 * FILES - summary.done


async def lag_of_threads() -> list[float]:
    """Lags of a loop whose process has two busy Python threads: work done in the host's own process."""
    end, lags = threading.Event(), []
    threads = [threading.Thread(target=_spin, args=(end,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    sampler = asyncio.create_task(sample(lags))
    await asyncio.sleep(BUSY_THREADS_FOR)
    sampler.cancel()
    end.set()
    return lags


def _spin(end: threading.Event) -> None:
    while not end.is_set():
        sum(range(1000))


def p99(lags: list[float]) -> float:
    """The 99th percentile in ms."""
    return sorted(lags)[int(len(lags) * 0.99)] * 1000


def loop_lag() -> Report:
    """The lag's p99, beside that of a loop that shares its process with the work."""
    ours, lost = asyncio.run(lag_of_host())
    threads = asyncio.run(lag_of_threads())
    figure = Figure(
        "p99 of the lag", f"{p99(ours):.1f} ms (n={len(ours)})", f"{p99(threads):.1f} ms", p99(ours), 10, False, "ms"
    )
    notes = ["Beside us: the same loop with two busy Python threads in its process."]
    title = f"{FILES} pictures through ViT-B-32 on all cores, a tick of 10 ms in the host's loop"
    return Report("loop_lag", title, lost, 0, [figure], notes)
