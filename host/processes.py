"""Families of processes: a worker and all that was started by it, also what left its group or outlived its parent.

A worker is started with a mark in its environment; whatever it starts inherits that, and keeps it under any parent.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

MARK = "SENSORIUM_WORKER"
MB = 1024 * 1024
BOOT = Path("/proc/sys/kernel/random/boot_id")


def families(marks: Iterable[str]) -> dict[str, list[psutil.Process]]:
    """The living processes that carry each of the marks. Takes some 30 µs for each process of the machine."""
    found: dict[str, list[psutil.Process]] = {mark: [] for mark in marks}
    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):  # it has gone by now, or belongs to somebody else
            process = psutil.Process(pid)
            if (mark := process.environ().get(MARK, "")) in found:
                found[mark].append(process)
    return {mark: living(members) for mark, members in found.items()}


def family(mark: str) -> list[psutil.Process]:
    """The living processes that carry the mark."""
    return families([mark])[mark]


def living(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that are there still; of a zombie all memory is back."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                found.append(process)
    return found


def are_there(pids: Iterable[int]) -> bool:
    """Whether all of these are alive."""
    try:
        return all(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)
    except psutil.Error:
        return False


def kill(processes: Iterable[psutil.Process]) -> None:
    """Send the signal that nobody can ignore; what has gone or belongs to somebody else is left out."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGKILL)


def memory_mb(pid: int) -> float:
    """Memory of a process in MB: its proportional share (PSS) where the system tells it, else what is resident."""
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        with contextlib.suppress(psutil.AccessDenied, AttributeError):
            return float(process.memory_full_info().pss) / MB
        return float(process.memory_info().rss) / MB
    return 0.0


def started(pid: int) -> str | None:
    """When a process started, as text that no other process with its number has; None when there is none."""
    if BOOT.exists():  # Linux: in ticks since this boot, so that a clock that is set right changes nothing
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return f"{BOOT.read_text().strip()} {fields[19]}"
        except OSError:
            return None
    try:
        return repr(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
