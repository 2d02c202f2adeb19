"""`sensorium`, and `python -m host`."""

from __future__ import annotations

import io
import sys

from host.cli import build


def main() -> None:
    """Run one command; ends the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode still shows what it can
    build()(prog_name="sensorium")


if __name__ == "__main__":
    main()
