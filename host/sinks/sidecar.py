"""Files beside the work: a sidecar for every arrival whose event is finished, and `failed/` for what was not.

    owed → written (atomically) → durable → delivered

A delivery is owed by the transaction that finished the event's last job, so a crash before `delivered` writes the same
file once more and a crash after it writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from host.durable import NAME_LIMIT, sync_files, write_atomically
from host.journal import SIDECAR, Journal, Row, Statement
from host.library import Library
from host.log import get_logger
from host.names import from_text
from host.reports import event_view
from host.steps import Observe
from host.views import EventView

GROUP = 500
RETRY = 5.0

log = get_logger(__name__)


class SidecarSink:
    """Writes what is owed, group after group."""

    def __init__(
        self,
        journal: Journal,
        library: Library,
        outbox: Path,
        failed: Path,
        folders: dict[str, str],
        observe: Observe = lambda step: None,
    ) -> None:
        self._journal = journal
        self._library = library
        self._outbox = outbox
        self._failed = failed
        self._folders = folders
        self._observe = observe
        self._wake = asyncio.Event()
        self.idle = asyncio.Event()

    def wake(self) -> None:
        """Something may be owed."""
        self.idle.clear()
        self._wake.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        self._outbox.mkdir(parents=True, exist_ok=True)
        while True:
            self._wake.clear()
            while await self._deliver_group():
                pass
            if not self._wake.is_set():
                self.idle.set()
            await self._wake.wait()

    async def _deliver_group(self) -> bool:
        rows = await self._journal.rows("owed", sink=SIDECAR, after=-1, limit=GROUP)
        if not rows:
            return False
        self._observe("before sidecar")
        views = {row["event_id"]: await event_view(row["event_id"], self._journal, self._library) for row in rows}
        try:
            await asyncio.to_thread(self._write, rows, views)
        except OSError as error:  # a full disk: it stays owed
            log.error("sidecars cannot be written", outbox=str(self._outbox), reason=str(error))
            await asyncio.sleep(RETRY)
            return True
        self._observe("sidecar written")
        await self._journal.write(
            Statement("delivered", [{"arrival_id": row["arrival_id"], "sink": SIDECAR} for row in rows])
        )
        return True

    def _write(self, rows: Sequence[Row], views: dict[str, EventView]) -> None:
        written = []
        for row in rows:
            if not row["superseded"]:
                view = views[row["event_id"]]
                written.append(self._write_sidecar(row, view))
                self._set_aside(row, view)
        sync_files(written, self._outbox)

    def _write_sidecar(self, row: Row, view: EventView) -> Path:
        body = view.model_dump(mode="json", exclude={"pending"})
        body["event"] |= {"source": row["source"], "origin": row["origin"], "name": row["origin"].rsplit("/", 1)[-1]}
        return _write_json(self.path_of(row["source"], row["origin"], row["event_id"]), body)

    def path_of(self, source: str, origin: str, event_id: str) -> Path:
        """Where the sidecar of an arrival goes: the same relative path, with its extension, and `.json`."""
        relative = self._relative(source, origin, event_id)
        return self._outbox / relative.with_name(_fitting(relative.name, ".json"))

    def _relative(self, source: str, origin: str, event_id: str) -> Path:
        if source in self._folders:
            return Path(self._folders[source], from_text(origin))
        name = Path(from_text(origin))  # submitted from anywhere: the name alone may be there already
        return Path(source, f"{name.stem}-{event_id[:8]}{name.suffix}")

    def _set_aside(self, row: Row, view: EventView) -> None:
        """Keep `failed/` true: the content and the reasons of what failed, nothing of what did not (any more)."""
        relative = self._relative(row["source"], row["origin"], row["event_id"])
        content = self._failed / relative
        report = self._failed / relative.with_name(_fitting(relative.name, ".error.json"))
        if view.failures:
            _write_json(report, _error_report(view, row))
            path = self._library.resolve(view.event.path)
            if path.is_relative_to(self._library.root):
                shutil.copyfile(path, content)
        elif report.exists():
            report.unlink()
            content.unlink(missing_ok=True)

    def refused(self, source: str, refused: Sequence[tuple[str, str]]) -> None:
        """Say in `failed/` why arrivals were refused; blocks."""
        for origin, reason in refused:
            relative = Path(self._folders.get(source, source), from_text(origin))
            body = {"file": origin, "source": source, "refused": reason}
            with contextlib.suppress(OSError):  # the journal has it too; `sensorium why` tells
                _write_json(self._failed / relative.with_name(_fitting(relative.name, ".error.json")), body)


def _error_report(view: EventView, row: Row) -> dict[str, Any]:
    return {
        "file": row["origin"],
        "source": row["source"],
        "event": view.event.id,
        "content": view.event.path,
        "failures": [failure.model_dump(mode="json") for failure in view.failures],
        "what_to_do": f"Put right what is said above, then: sensorium requeue {view.event.id}",
    }


def _write_json(path: Path, body: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(body, indent=2, ensure_ascii=False).encode() + b"\n")
    return path


def _fitting(name: str, suffix: str) -> str:
    """The name with a suffix; one that would be too long is cut and told apart by a hash."""
    raw = os.fsencode(name)
    if len(raw) + len(suffix) <= NAME_LIMIT:
        return name + suffix
    digest = hashlib.sha256(raw).hexdigest()[:12]
    return os.fsdecode(raw[: NAME_LIMIT - len(suffix) - 13]) + f"-{digest}{suffix}"
