"""Work that is finished, as the host writes it down: arrivals, results, files, failures, refusals."""

from __future__ import annotations

import json
import time

from host.journal import Journal, Statement
from host.library import Library


class FinishedWork:
    """Writes to a journal what intake and dispatcher would."""

    def __init__(self, journal: Journal, library: Library) -> None:
        self._journal = journal
        self._library = library

    async def arrives(
        self, event: str, origin: str, source: str = "inbox", plugins: tuple[str, ...] = ("clip",)
    ) -> None:
        row = {
            "id": event, "kind": "image", "media_type": "image/png", "sha256": event, "size": 1,
            "location": f"{event}.png", "mark": "", "name": origin, "source": source, "origin": origin,
            "tags": '["garden"]', "metadata": "{}", "parent": None, "created": 5.0,
        }  # fmt: skip
        mark = {"source": source, "origin": origin, "revision": "1", "changed": 0, "event_id": event, "seen": 5.0}
        await self._journal.write(
            Statement("insert_event", [row]),
            Statement("insert_arrival", [mark]),
            Statement("insert_job", [{"event_id": event, "plugin": plugin, "queued": 1.0} for plugin in plugins]),
        )

    async def seq(self, event: str, plugin: str) -> int:
        rows = await self._journal.rows("jobs_of_event", event_id=event)
        return next(row["seq"] for row in rows if row["plugin"] == plugin)

    async def finishes(self, event: str, plugin: str = "clip", text: str = "a cat", file: bytes | None = None) -> None:
        results = [self._result(event, plugin, 0, "caption", {"text": text})]
        if file is not None:
            stored = self._library.add_bytes(file, ".jpg")
            data = {"media_type": "image/jpeg", "width": 1, "height": 1}
            results.append(self._result(event, plugin, 1, "thumbnail", data, self._library.location_of(stored.path)))
        await self._journal.write(
            Statement("clear_results", [{"event_id": event, "plugin": plugin}]),
            Statement("insert_result", results),
            Statement("finish_job", [{"seq": await self.seq(event, plugin), "finished": time.time()}]),
        )

    async def fails(self, event: str, plugin: str = "clip", message: str = "It is cut off.") -> None:
        error = json.dumps({"code": "bad_input", "message": message, "hint": "Send it again.", "detail": ""})
        row = {"seq": await self.seq(event, plugin), "attempts": 1, "error": error, "finished": 3.0}
        await self._journal.write(Statement("fail_job", [row]))

    async def is_requeued(self, event: str, plugin: str = "clip") -> None:
        await self._journal.write(Statement("requeue_job", [{"seq": await self.seq(event, plugin), "queued": 4.0}]))

    async def is_refused(self, origin: str, reason: str, source: str = "inbox", revision: str = "1") -> None:
        mark = {"source": source, "origin": origin, "revision": revision, "changed": 0, "seen": 0.0}
        await self._journal.write(Statement("refuse_arrival", [{**mark, "reason": reason}]))

    def _result(
        self, event: str, plugin: str, ordinal: int, kind: str, data: dict, artifact: str | None = None
    ) -> dict:
        return {
            "event_id": event, "plugin": plugin, "ordinal": ordinal, "type": kind, "version": 1,
            "data": json.dumps(data), "artifact": artifact, "provenance": "{}", "created": 2.0,
        }  # fmt: skip
