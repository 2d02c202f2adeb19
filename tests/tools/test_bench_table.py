"""The page of benchmarks: one section a benchmark, each renewed by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.bench import __main__ as bench
from tools.bench.report import Figure, Report

PAGE = """# Benchmarks

### films

Old films.

### Why it is so

Prose.
"""


def report(name: str, value: float) -> Report:
    made = Report(name, f"What {name} costs")
    made.figures.append(Figure("time", f"{value} s", "1 s", judged=value, bound=2.0, at_least=False))
    return made


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "benchmarks.md"
    monkeypatch.setattr(bench, "TABLE", path)
    return path


def test_a_run_renews_its_own_section_and_leaves_prose_and_others(page: Path) -> None:
    page.write_text(PAGE)
    bench.write_section(report("round_trip", 1.0), 0.25)
    bench.write_section(report("round_trip", 1.5), 0.25)
    text = page.read_text()
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        "### round_trip",
        "### films",
        "### Why it is so",
    ]
    assert "Old films." in text
    assert "Prose." in text
    assert "1.5 s" in text
    assert "1.0 s" not in text


def test_a_section_tells_date_machine_and_load(page: Path) -> None:
    bench.write_section(report("films", 3.0), 4.2)
    heading, origin = page.read_text().splitlines()[5:9:2]
    assert heading == "### films"
    assert "load 4.2 before it began" in origin
