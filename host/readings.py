"""Results that carry text are read by plugins that take text: a transcript is summarised, a caption translated.

    a result with text is committed → in the same transaction, a job for each plugin that reads its type
    the job's turn → the event's texts of those types, from the journal, as one text event → on_text

What such a plugin finds belongs to the event that was heard or seen, so it stands in the same sidecar. A plugin has one
job for an event at most, so no circle of plugins that read each other can close.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hooks.events import hook_of
from host.findings import Outcome
from host.handover import event_payload
from host.journal import Journal, Row, Statement
from host.library import Library
from host.queues import Job
from host.reports import event_views
from host.routes import Routes
from host.views import ResultView

ON_TEXT = hook_of("text")
MEDIA_TYPE = "text/plain"


class Readings:
    """Whose text is read by whom."""

    def __init__(self, journal: Journal, library: Library, routes: Routes) -> None:
        self._journal = journal
        self._library = library
        self._routes = routes

    def queued(self, outcomes: Iterable[Outcome]) -> tuple[list[Statement], set[str]]:
        """The writes that queue the readings of what was found, and the plugins that get something to read."""
        jobs: list[dict[str, Any]] = []
        background: list[dict[str, Any]] = []
        for outcome in outcomes:
            about = _about(outcome.job.event)
            for plugin in self._readers(outcome, about):
                later = self._routes.is_background(plugin, *about)
                row = {"event_id": outcome.job.event_id, "plugin": plugin, "queued": time.time()}
                (background if later else jobs).append(row)
        statements = [Statement("insert_job", jobs), Statement("insert_background_job", background)]
        return [one for one in statements if one.rows], {row["plugin"] for row in jobs + background}

    def _readers(self, outcome: Outcome, about: tuple[str, str, str, str]) -> list[str]:
        if outcome.failure or outcome.job.gathers:
            return []
        types = {one.type for one in outcome.findings if _has_text(one.data)}
        found = dict.fromkeys(plugin for kind in sorted(types) for plugin in self._routes.readers_of(kind, *about))
        return [plugin for plugin in found if plugin != outcome.job.plugin]

    def is_reading(self, job: Job) -> bool:
        """Whether a job is to read what was found in its event, and not the event itself."""
        return not job.gathers and self._routes.only_reads(job.plugin, job.event["kind"])

    @contextlib.asynccontextmanager
    async def payloads(self, jobs: Sequence[Job], folder: Path) -> AsyncIterator[list[dict[str, Any]]]:
        """The events as their readers get them, of texts that lie in `folder` as long as they are read."""
        views = await event_views([job.event_id for job in jobs], self._journal, self._library)
        written: list[Path] = []
        try:
            payloads = []
            for job in jobs:
                path = folder / f"reading-{job.event_id}.txt"
                written.append(path)
                found = views[job.event_id].results if job.event_id in views else []
                payloads.append(self._payload(job, path, found))
            yield payloads
        finally:
            for path in written:
                path.unlink(missing_ok=True)

    def _payload(self, job: Job, path: Path, results: Iterable[ResultView]) -> dict[str, Any]:
        about = _about(job.event)
        read = [
            one
            for one in results
            if one.plugin != job.plugin
            and job.plugin in self._routes.readers_of(one.type, *about)
            and _has_text(one.data)
        ]
        content = "\n\n".join(_words(one.data) for one in read).encode("utf-8", "replace")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        payload = event_payload(job.event, self._library)
        facts = {"kind": "text", "media_type": MEDIA_TYPE, "path": str(path)}
        known = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
        return {**payload, **facts, **known, "role": read[0].type if read else ""}


def _about(event: Row) -> tuple[str, str, str, str]:
    return event["kind"], event["media_type"], event["source"], event["origin"]


def _has_text(data: Any) -> bool:
    text = data.get("text") if isinstance(data, dict) else None
    return isinstance(text, str) and bool(text.strip())


def _words(data: Any) -> str:
    """The text of a result; of a transcript whose speakers are known, who says what."""
    return "\n".join(_spoken(data)) or str(data["text"])


def _spoken(data: Any) -> Iterator[str]:
    segments = data.get("segments")
    if isinstance(segments, list) and any(isinstance(one, dict) and one.get("speaker") for one in segments):
        for one in segments:
            yield f"{one['speaker']}: {one['text']}" if one.get("speaker") else str(one.get("text", ""))
