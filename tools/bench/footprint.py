"""What the host costs when nothing happens, how fast it starts, and what is left when a model has gone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import psutil

from tools.bench.intake import workplace
from tools.bench.report import Figure, Report, spread
from tools.drawn_world import write_samples

IDLE_FOR = 30.0
STARTS = 5
KEEP_ALIVE = 3

CONFIG = f"""
[[inbox]]
path = "inbox"
[plugins.clip]
keep_alive = {KEEP_ALIVE}
"""


def sensorium(*arguments: str, folder: Path) -> list[str]:
    """A command line."""
    return [sys.executable, "-m", "host", *arguments, "--config", str(folder / "config.toml")]


def status_of(folder: Path) -> dict[str, object] | None:
    """What `status --json` says, None when no host answers."""
    answer = subprocess.run(sensorium("status", "--json", folder=folder), capture_output=True, text=True)
    found = json.loads(answer.stdout) if answer.returncode == 0 else None
    return found if found and found["running"] else None


def start_host(folder: Path) -> tuple[subprocess.Popen[bytes], float]:
    """A host, and the seconds until its socket is there."""
    socket = folder / "data" / "control.sock"
    socket.unlink(missing_ok=True)
    began = time.perf_counter()
    host = subprocess.Popen(sensorium("run", folder=folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not socket.exists():
        if host.poll() is not None:
            raise RuntimeError(f"The host ended with {host.returncode}.")
        time.sleep(0.005)
    return host, time.perf_counter() - began


def stop_host(host: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C does."""
    host.terminate()
    host.wait(30)


def time_command(command: list[str]) -> float:
    """Seconds of a whole command."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def footprint() -> Report:
    """Start, idle memory and CPU, and the memory of workers after keep_alive."""
    with workplace() as folder:
        (folder / "config.toml").write_text(CONFIG)
        (folder / "inbox").mkdir()
        starts = []
        for _ in range(STARTS):
            host, took = start_host(folder)
            starts.append(took)
            stop_host(host)
        bare = [time_command([sys.executable, "-c", "import pydantic, asyncio"]) for _ in range(STARTS)]
        commands = [time_command(sensorium("status", "--json", folder=folder)) for _ in range(STARTS)]
        host, _ = start_host(folder)
        process = psutil.Process(host.pid)
        write_samples(folder / "inbox", 40, seed=5)
        workers = _peak_of_workers(process, folder)
        time.sleep(2)
        before, began = sum(process.cpu_times()[:2]), time.perf_counter()
        time.sleep(IDLE_FOR)
        cpu = (sum(process.cpu_times()[:2]) - before) / (time.perf_counter() - began) * 100
        memory = process.memory_info().rss / 2**20
        left = sum(child.memory_info().rss for child in process.children(recursive=True)) / 2**20
        sidecars = len(list((folder / "outbox").glob("*.json")))
        stop_host(host)
    imports = spread(bare)
    figures = [
        Figure("`sensorium run` until its socket is there", spread(starts), imports, median(starts), 1.0, False, "s"),
        Figure("`sensorium status`", spread(commands), imports, median(commands), 1.0, False, "s"),
        Figure("idle memory of the host", f"{memory:.0f} MB", f"{workers:.0f} MB", memory, 100, False, "MB"),
        Figure("idle CPU", f"{cpu:.2f} %", "", cpu, 0.5, False, "% of a core"),
        Figure("memory of workers after keep_alive", f"{left:.0f} MB", f"{workers:.0f} MB", left, 0, False, "MB"),
    ]
    notes = ["Beside the starts: Python importing pydantic and asyncio. Beside the memory: the workers at work."]
    return Report("footprint", "What the host costs when nothing happens", 40 - sidecars, 0, figures, notes)


def _peak_of_workers(process: psutil.Process, folder: Path) -> float:
    """Most memory of the workers in MB, until all sidecars are there and the workers have gone."""
    peak, deadline = 0.0, time.monotonic() + 180
    while time.monotonic() < deadline:
        sizes = []
        for child in process.children(recursive=True):
            try:
                sizes.append(child.memory_info().rss / 2**20)
            except psutil.NoSuchProcess:
                continue
        peak = max(peak, sum(sizes))
        if not sizes and len(list((folder / "outbox").glob("*.json"))) >= 40:
            return peak
        time.sleep(0.2)
    return peak
