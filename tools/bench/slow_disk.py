"""A disk whose flush takes as long as one likes: what a commit costs differs tenfold between disks.

The delay is added to fsync, fdatasync and syncfs of a child process, by a small library that is preloaded (ld.so(8)).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static void wait_a_little(void) { char *us = getenv("SLOW_SYNC_US"); if (us) usleep(atoi(us)); }
#define SLOW(name) int name(int fd) { \
    static int (*real)(int); if (!real) real = dlsym(RTLD_NEXT, #name); wait_a_little(); return real(fd); }
SLOW(fsync) SLOW(fdatasync) SLOW(syncfs)
"""


def slow_environment(folder: Path, seconds: float) -> dict[str, str]:
    """The environment for a child process whose flushes take so much longer; needs a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise RuntimeError("There is no C compiler: the benchmark of slow disks needs one.")
    source, library = folder / "slow_sync.c", folder / "slow_sync.so"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": str(library), "SLOW_SYNC_US": str(int(seconds * 1e6))}


def flush_seconds(folder: Path, times: int = 200) -> float:
    """The median of what a flush of one written page takes here."""
    path, took = folder / "flushed", []
    with path.open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - began)
    path.unlink()
    return statistics.median(took)
