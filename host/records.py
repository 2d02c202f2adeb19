"""What is remembered of each plugin: jobs, failures, time, memory, what it should not have done, whether it is off.

    on ── `plugin disable` ──────────────────→ disabled    no jobs from now on; not imported at the next start
     ├─── jobs failed in a row, none done ───→ suspended   its jobs are queued, and wait
     ↑                                             │
     └──────────── `plugin enable` ────────────────┘

One row for each plugin, written in the transaction that ends its jobs (`host/sql/0012_plugin_records.sql`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from host.journal import Journal, Statement

Off = Literal["", "disabled", "suspended"]
BLAMELESS = frozenset({"bad_input", "gone", "ended", "lost"})  # failures that say nothing of the plugin
NOTES = {
    "outside": "wrote outside of its scratch folder",
    "memory": "kept growing, and its worker was replaced",
}


@dataclass(slots=True)
class Record:
    """One plugin's record; `seconds` its workers ran its hooks, `notes` by kind how often and what last."""

    plugin: str
    done: int = 0
    failed: int = 0
    in_a_row: int = 0
    seconds: float = 0.0
    memory_mb: float = 0.0
    notes: dict[str, tuple[int, str]] = field(default_factory=dict)
    off: Off = ""
    why: str = ""
    since: float = 0.0

    @property
    def sentences(self) -> list[str]:
        """The notes for people."""
        return [
            f"{NOTES.get(kind, kind)} {'once' if count == 1 else f'{count} times'}, last: {last}"
            for kind, (count, last) in self.notes.items()
        ]


class Records:
    """The records of all plugins; what `statement` gives is to be committed with what it tells of."""

    def __init__(self, suspend_after: int) -> None:
        """`suspend_after`: jobs that may fail in a row; 0 for any number."""
        self._limit = suspend_after
        self._records: dict[str, Record] = {}

    async def recall(self, journal: Journal) -> None:
        """Take over what an earlier host wrote down."""
        for row in await journal.rows("plugin_records"):
            facts = {key: row[key] for key in row.keys()}  # noqa: SIM118 - a row of SQLite iterates over its values
            notes = {kind: (count, last) for kind, (count, last) in json.loads(facts.pop("notes")).items()}
            self._records[row["plugin"]] = Record(**facts, notes=notes)

    def of(self, plugin: str) -> Record:
        """The record of a plugin; an empty one where nothing is known."""
        return self._records.setdefault(plugin, Record(plugin))

    def why_off(self, plugin: str) -> str:
        """Why a plugin is off; empty when it is on."""
        return self.of(plugin).why if self.of(plugin).off else ""

    def is_disabled(self, plugin: str) -> bool:
        """Whether somebody switched it off, so that nothing new is for it."""
        return self.of(plugin).off == "disabled"

    @property
    def disabled(self) -> frozenset[str]:
        """All that somebody switched off."""
        return frozenset(name for name, record in self._records.items() if record.off == "disabled")

    def worked(self, plugin: str, seconds: float, memory_mb: float) -> None:
        """A worker ran hooks of the plugin."""
        record = self.of(plugin)
        record.seconds += seconds
        record.memory_mb = max(record.memory_mb, memory_mb)

    def done(self, plugin: str, jobs: int, judged: int) -> None:
        """A batch went well; `judged` of its events the plugin could not work on, and said so."""
        record = self.of(plugin)
        record.done += jobs
        record.failed += judged
        record.in_a_row = 0

    def failed(self, plugin: str, jobs: int, facts: Mapping[str, str]) -> None:
        """Jobs were set aside."""
        record = self.of(plugin)
        record.failed += jobs
        record.in_a_row += 0 if facts["code"] in BLAMELESS else jobs

    def note(self, plugin: str, kind: str, what: str) -> None:
        """It was seen to do something that it should not (a key of NOTES)."""
        count, _ = self.of(plugin).notes.get(kind, (0, ""))
        self.of(plugin).notes[kind] = (count + 1, what)

    def too_many(self, plugin: str) -> bool:
        """Whether so many of its jobs failed in a row that it is to be suspended."""
        record = self.of(plugin)
        return bool(self._limit) and not record.off and record.in_a_row >= self._limit

    def switch(self, plugin: str, off: Off, why: str = "") -> None:
        """Switch it off, or on again."""
        record = self.of(plugin)
        record.off, record.why, record.since, record.in_a_row = off, why, time.time(), 0

    def statement(self, plugin: str) -> Statement:
        """The write of a plugin's record as it is now."""
        record = self.of(plugin)
        row: dict[str, Any] = {name: getattr(record, name) for name in Record.__slots__}
        return Statement("remember_plugin", [{**row, "notes": json.dumps(record.notes)}])
