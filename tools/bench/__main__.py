"""`python -m tools.bench NAME… [--json] [--write]`, `--list`, `--all`."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import psutil

from tools.bench.report import Report, dump

TABLE = Path("docs/benchmarks.md")
HEAD = """# Benchmarks

`make bench` runs all and writes this page; `python -m tools.bench NAME --write` renews one section.
Rates are noisy on a shared machine: trust the ratios, whose two sides were measured in the same run.
"""
# Name, module, function: imported only when it is run.
BENCHMARKS = {
    "round_trip": ("round_trip", "round_trip"),
    "loop_lag": ("loop_lag", "loop_lag"),
    "footprint": ("footprint", "footprint"),
    "scheduling": ("scheduling", "scheduling"),
    "lease_history": ("lease_history", "lease_history"),
    "cpu_leases": ("cpu_leases", "cpu_leases"),
    "gpu_leases": ("gpu_leases", "gpu_leases"),
    "whole_host": ("whole_host", "whole_host"),
    "hearing": ("hearing", "hearing"),
    "reading": ("reading", "reading"),
    "speaking": ("speaking", "speaking"),
    "long_recording": ("long_recording", "long_recording"),
    "keep_in_place": ("intake", "keep_in_place"),
    "consuming": ("intake", "consuming"),
    "mqtt_intake": ("mqtt", "mqtt_intake"),
    "mqtt_requests": ("mqtt_requests", "mqtt_requests"),
    "mqtt_oversize": ("mqtt_oversize", "mqtt_oversize"),
    "text_search": ("text_search", "text_search"),
    "films": ("films", "films"),
    "plugins": ("plugins", "plugins"),
}


def main() -> int:
    """Run what was asked for; 1 when a bound was missed."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run; see --list")
    parser.add_argument("--list", action="store_true", help="name all benchmarks")
    parser.add_argument("--all", action="store_true", help=f"run all and write {TABLE}")
    parser.add_argument("--write", action="store_true", help=f"write the sections of those that run into {TABLE}")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(BENCHMARKS))
        return 0
    names = list(BENCHMARKS) if arguments.all else arguments.names
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown or not names:
        parser.error(f"unknown: {', '.join(unknown)}; --list names them" if unknown else "name a benchmark, or --all")
    reports = []
    for name in names:
        load = os.getloadavg()[0]
        reports.append(_function(name)())
        print(reports[-1].text(), file=sys.stderr if arguments.json else sys.stdout, flush=True)
        if arguments.all or arguments.write:
            write_section(reports[-1], load)
    if arguments.json:
        print(dump(reports))
    return 0 if all(report.holds for report in reports) else 1


def _function(name: str) -> Callable[[], Report]:
    module, function = BENCHMARKS[name]
    found: Callable[[], Report] = getattr(import_module(f"tools.bench.{module}"), function)
    return found


def write_section(report: Report, load: float) -> None:
    """Write a report into the table, with date, machine and its load before; other sections and prose stay."""
    sections = _sections(TABLE.read_text()) if TABLE.exists() else {}
    sections[report.name] = report.markdown().replace("\n\n", f"\n\n{_origin(load)}\n\n", 1)
    order = [*BENCHMARKS, *(title for title in sections if title not in BENCHMARKS)]
    TABLE.parent.mkdir(exist_ok=True)
    TABLE.write_text("\n".join([HEAD, *(sections[title].strip() + "\n" for title in order if title in sections)]))


def _sections(text: str) -> dict[str, str]:
    """The table's sections by their titles, each with its heading."""
    parts = re.split(r"^(?=### )", text, flags=re.MULTILINE)[1:]
    return {part.splitlines()[0].removeprefix("### "): part for part in parts}


def _origin(load: float) -> str:
    memory = psutil.virtual_memory().total / 2**30
    machine = f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}"
    python = f"Python {platform.python_version()}"
    return f"_{datetime.date.today()}, {machine}, {python}, load {load:.1f} before it began._"


if __name__ == "__main__":
    sys.exit(main())
