"""Bursts of small files, written by another process as a device would."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import zlib
from pathlib import Path


def content(number: int, seed: int) -> bytes:
    """A small PNG-like file, different for each number."""
    body = f"{seed}:{number}:".encode() * 40
    return b"\x89PNG\r\n\x1a\n" + zlib.compress(body) + body


def write_burst(folder: Path, count: int, seed: int) -> None:
    """Write the files one after the other, as fast as it goes."""
    for number in range(count):
        with open(folder / f"{number:06}.png", "wb") as file:
            file.write(content(number, seed))


async def start_burst(folder: Path, count: int, seed: int) -> asyncio.subprocess.Process:
    """Write a burst from a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tools.bench.bursts", str(folder), str(count), str(seed), env=dict(os.environ)
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int)
    arguments = parser.parse_args()
    write_burst(arguments.folder, arguments.count, arguments.seed)
