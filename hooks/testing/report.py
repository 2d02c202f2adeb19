"""What a conformance check found: one line for each thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hooks.errors import SensoriumError

State = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was found there, and what to mend."""

    name: str
    state: State
    found: str
    advice: str = ""


@dataclass
class Report:
    """All that was looked at in one plugin."""

    plugin: str
    module: str
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing failed; warnings and what had to be skipped are no failure."""
        return not self.of_state("failed")

    def of_state(self, state: State) -> list[Check]:
        """The checks that ended like this."""
        return [check for check in self.checks if check.state == state]

    def __str__(self) -> str:
        lines = (f"  {one.state:8} {one.name}: {one.found} {one.advice}".rstrip() for one in self.checks)
        return "\n".join([f"{self.plugin} ({self.module})", *lines])


def good(name: str, found: str) -> Check:
    """All is well."""
    return Check(name, "ok", found)


def bad(name: str, found: str, advice: str = "") -> Check:
    """The contract is broken."""
    return Check(name, "failed", found, advice)


def doubtful(name: str, found: str, advice: str) -> Check:
    """Nothing is broken, but somebody will stumble over it."""
    return Check(name, "warning", found, advice)


def skipped(name: str, why: str, advice: str = "") -> Check:
    """It could not be looked at here."""
    return Check(name, "skipped", why, advice)


def words(error: BaseException) -> str:
    """An exception in one line."""
    return str(error) if isinstance(error, SensoriumError) else f"{type(error).__name__}: {error}"
