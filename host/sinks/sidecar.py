"""Files beside the work: a sidecar for every arrival whose event is finished, and `failed/` for what was not.

    owed → written (atomically) → durable → delivered

A delivery is owed by the transaction that finished the event's last job, so a crash before `delivered` writes the same
file once more and a crash after it writes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic_core import to_json

from hooks.results import Artifact, Speech, artifact_suffix, text_files
from host.durable import NAME_LIMIT, copy_atomically, sync_files, write_atomically
from host.errors import LibraryError
from host.handover import put_all, resting_contents
from host.journal import SIDECAR, Journal, Row, Statement
from host.library import Library
from host.log import get_logger
from host.names import from_text, is_text
from host.reports import event_views
from host.steps import Observe
from host.views import EventView, ResultView

GROUP = 500
RETRY = 5.0
REPORT = ".error.json"
FOR_PEOPLE = (Artifact.type, Speech.type)  # results whose file is written beside the sidecar

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
        texts: Collection[str] = (),
    ) -> None:
        self._journal = journal
        self._library = library
        self._outbox = outbox
        self._failed = failed
        self._folders = folders
        self._observe = observe
        self._texts = frozenset(texts)
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
        rows = await self._journal.rows("owed", sink=SIDECAR, limit=GROUP)
        if not rows:
            return False
        self._observe("before sidecar")
        events = list({row["event_id"] for row in rows})
        views = await event_views(events, self._journal, self._library)
        resting = await resting_contents(events, self._journal)
        try:
            await asyncio.to_thread(self._settle, resting)
            await asyncio.to_thread(self._write, rows, views)
        except (OSError, LibraryError) as error:  # a full disk: it stays owed
            log.error("sidecars cannot be written", outbox=str(self._outbox), reason=str(error))
            await asyncio.sleep(RETRY)
            return True
        self._observe("sidecar written")
        delivered = [{"arrival_id": row["arrival_id"], "sink": SIDECAR, "times": row["times"]} for row in rows]
        settled = [{"event_id": row["event_id"]} for row in resting]
        await self._journal.write(Statement("delivered", delivered), Statement("drop_content", settled))
        return True

    def _settle(self, resting: Sequence[Row]) -> None:
        """Make durable files of contents that rested in the journal: from now on a file is where its sidecar says."""
        self._library.sync(put_all(resting, self._library))

    def _write(self, rows: Sequence[Row], views: dict[str, EventView]) -> None:
        sidecars, reports = [], []
        for row in rows:
            if not row["superseded"] or row["source"] not in self._folders:  # elsewhere each content has its own name
                view = views[row["event_id"]]
                sidecars += [self._write_sidecar(row, view), *self._write_files(row, view)]
                reports += self._set_aside(row, view)
        sync_files(sidecars, self._outbox)
        sync_files(reports, self._failed)

    def _write_sidecar(self, row: Row, view: EventView) -> Path:
        body = view.model_dump(mode="json", exclude={"pending": True, "event": {"role", "moment"}})
        body["event"] |= {"source": row["source"], "origin": row["origin"], "name": row["origin"].rsplit("/", 1)[-1]}
        return _write_json(self.path_of(row["source"], row["origin"], row["event_id"]), body)

    def _write_files(self, row: Row, view: EventView) -> list[Path]:
        """What belongs beside the sidecar: the texts of results that are asked for, and the files that plugins made."""
        relative = self._relative(row["source"], row["origin"], row["event_id"])
        written = []
        for result in view.results:
            for suffix, content in self._texts_of(result):
                path = _place(self._outbox, relative, suffix)
                write_atomically(path, content)
                written.append(path)
            for suffix, artifact in _artifact_of(result):
                takes_place = result.type == Speech.type and relative.suffix == ".txt"  # of note.txt, note.wav
                path = _place(self._outbox, relative.with_suffix("") if takes_place else relative, suffix)
                if copy_atomically(artifact, path):
                    written.append(path)
        return written

    def _texts_of(self, result: ResultView) -> Iterator[tuple[str, bytes]]:
        for suffix, text in _text_files(result).items() if self._texts else ():
            if suffix.rpartition(".")[2] in self._texts:
                yield suffix, text.encode()

    def path_of(self, source: str, origin: str, event_id: str) -> Path:
        """Where the sidecar of an arrival goes: the same relative path, with its extension, and `.json`."""
        return _place(self._outbox, self._relative(source, origin, event_id), ".json")

    def _relative(self, source: str, origin: str, event_id: str) -> Path:
        if source in self._folders:
            return Path(self._folders[source], from_text(origin))
        # From anywhere else: the last part alone, since the others may lead anywhere; told apart, as it may be there.
        name = Path(os.path.basename(from_text(origin).rstrip("/")).replace("\0", ""))
        return Path(source, f"{name.stem}-{event_id[:8]}{name.suffix}")

    def _set_aside(self, row: Row, view: EventView) -> list[Path]:
        """Keep `failed/` true: the content and the reasons of what failed, nothing of what did not (any more)."""
        relative = self._relative(row["source"], row["origin"], row["event_id"])
        report = _place(self._failed, relative, REPORT)
        if not view.failures and not report.exists():
            return []
        content = _place(self._failed, relative)
        if not view.failures:
            report.unlink()
            content.unlink(missing_ok=True)
            return []
        _write_json(report, _error_report(view, row))
        path = self._library.resolve(view.event.path)
        if not path.is_relative_to(self._library.root):
            return [report]
        with contextlib.suppress(FileNotFoundError):  # somebody removed it from the library; the report stands
            shutil.copyfile(path, content)
            return [report, content]
        return [report]

    def refused(self, source: str, refused: Sequence[tuple[str, str]]) -> None:
        """Say in `failed/` why arrivals were refused; blocks."""
        for origin, reason in refused:
            relative = self._relative(source, origin, hashlib.sha256(origin.encode()).hexdigest())
            body = {"file": origin, "source": source, "refused": reason}
            with contextlib.suppress(OSError):  # the journal has it too; `sensorium why` tells
                _write_json(_place(self._failed, relative, REPORT), body)

    def withdrawn(self, source: str, origins: Sequence[str]) -> None:
        """Take back what `refused` said; a report of failed jobs under the same name stays. Blocks."""
        for origin in origins:
            report = _place(self._failed, self._relative(source, origin, ""), REPORT)
            with contextlib.suppress(OSError, ValueError):
                if "refused" in json.loads(report.read_bytes()):
                    report.unlink()


def _text_files(result: ResultView) -> dict[str, str]:
    try:
        return text_files(result.type, result.version, cast("dict[str, Any]", result.data))
    except ValueError as error:  # a plugin of somebody's own, or of another version, wrote what the type does not allow
        log.warning("a result has no text files", plugin=result.plugin, type=result.type, reason=str(error)[:300])
        return {}


def _artifact_of(result: ResultView) -> Iterator[tuple[str, Path]]:
    """The file of an artifact and what follows the name; nothing where that is odd."""
    data = result.data if isinstance(result.data, dict) and result.type in FOR_PEOPLE else {}
    with contextlib.suppress(ValueError):
        if result.artifact:
            yield artifact_suffix(str(data.get("suffix", ""))), Path(result.artifact)


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
    write_atomically(path, to_json(body, indent=2) + b"\n")
    return path


def _place(root: Path, relative: Path, suffix: str = "") -> Path:
    """Where a file goes under `root`.

    A name that is too long with its suffix is cut and told apart by a hash. Where a folder has the name, or a file the
    name of a folder on the way (`a.json` beside `a.json/b`), it goes into the root itself under such a name.
    """
    path = root / relative.with_name(_fitting(relative.name, suffix))
    if path.is_dir() or not (path.parent.is_dir() or _can_be_made(path.parent, root)):
        return root / _told_apart(relative.name, str(relative), suffix)
    return path


def _can_be_made(folder: Path, root: Path) -> bool:
    on_the_way = itertools.takewhile(lambda above: above != root, (folder, *folder.parents))
    return all(above.is_dir() or not above.exists() for above in on_the_way)


def _fitting(name: str, suffix: str) -> str:
    return name + suffix if len(os.fsencode(name + suffix)) <= NAME_LIMIT else _told_apart(name, name, suffix)


def _told_apart(name: str, whole: str, suffix: str) -> str:
    """A name with a hash of the `whole` in it, cut to what a file system takes."""
    mark = f"-{hashlib.sha256(os.fsencode(whole)).hexdigest()[:12]}{suffix}"
    raw = os.fsencode(name)[: NAME_LIMIT - len(mark)]
    return (raw.decode(errors="ignore") if is_text(name) else os.fsdecode(raw)) + mark
