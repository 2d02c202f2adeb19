"""What a benchmark says: losses first, then figures, each beside what it is compared with."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One figure: ours, the peer's, and the bound that was set (`at least` or `at most`) on `judged`."""

    what: str
    ours: str
    peer: str
    judged: float
    bound: float
    at_least: bool
    unit: str = "x"

    @property
    def holds(self) -> bool:
        """Whether the bound is kept."""
        return self.judged >= self.bound if self.at_least else self.judged <= self.bound


@dataclass
class Report:
    """A benchmark's outcome."""

    name: str
    title: str
    lost: int | None = None
    duplicated: int | None = None
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing was lost or doubled, and every bound is kept."""
        return not self.lost and not self.duplicated and all(figure.holds for figure in self.figures)

    def text(self) -> str:
        """For people."""
        lines = [self.title]
        if self.lost is not None:
            lines.append(f"  lost {self.lost}, duplicated {self.duplicated}")
        for one in self.figures:
            verdict = "ok" if one.holds else "MISSED"
            lines.append(f"  {one.what}: {one.ours} | {one.peer} -> {_value(one)} ({_bound(one)}: {verdict})")
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def markdown(self) -> str:
        """For `docs/benchmarks.md`."""
        lines = [f"### {self.name}", "", self.title + ".", ""]
        if self.lost is not None:
            lines += [f"Lost {self.lost}, duplicated {self.duplicated}.", ""]
        lines += ["| what | ours | beside it | judged | bound | |", "| --- | --- | --- | --- | --- | --- |"]
        for one in self.figures:
            verdict = "held" if one.holds else "**missed**"
            lines.append(f"| {one.what} | {one.ours} | {one.peer} | {_value(one)} | {_bound(one)} | {verdict} |")
        return "\n".join([*lines, "", *(f"{note}\n" for note in self.notes)])

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**asdict(self), "holds": self.holds}


def _value(figure: Figure) -> str:
    return f"{figure.judged:.2f} {figure.unit}"


def _bound(figure: Figure) -> str:
    return f"{'at least' if figure.at_least else 'at most'} {figure.bound:g}"


def spread(values: Sequence[float], unit: str = "s", digits: int = 2) -> str:
    """Median and range of repeats."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f} to {high:.{digits}f}, n={len(values)})"


def dump(reports: Sequence[Report]) -> str:
    """All reports as JSON."""
    return json.dumps([report.as_json() for report in reports], indent=2)
