"""What is owed to the broker, kept in the journal until the broker has acknowledged it.

    a job is finished, a refusal is written → owed (in the same transaction, by the triggers of the schema)
    owed → made into messages → sent, in order → acknowledged by the broker → settled

A crash, or a broker that goes away, between `sent` and `settled` sends the same message once more, with the same `id`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.errors import JournalError
from host.journal import Journal, Row, Statement
from host.library import Library
from host.log import get_logger
from host.mqtt.messages import (
    EventPart,
    ResultMessage,
    Topics,
    event_part,
    failure_message,
    refusal_message,
    result_part,
    to_json,
)
from host.reports import event_views
from host.views import EventView, RefusalView, ResultView, View

SINK = "mqtt"
GROUP = 16  # made into messages without a pause: others wait for the event loop meanwhile
RETRY = 5.0
PUBLISHED = 32 * 1024 * 1024  # bytes of a file that is published: what is larger is fetched from the outbox folder

DeviceOf = Callable[[str, str], str]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to be published: JSON, or a file of the media type."""

    topic: str
    payload: bytes
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Owed:
    """One entry: its number, its messages in their order, and where to say that they cannot be published."""

    id: int
    messages: Sequence[Outgoing]
    source: str = ""
    origin: str = ""


class Outbox:
    """Reads what is owed and makes messages of it; `device_of` says by whose name a source and origin are published."""

    def __init__(self, journal: Journal, library: Library, topics: Topics, device_of: DeviceOf) -> None:
        self._journal = journal
        self._library = library
        self.topics = topics
        self._device_of = device_of

    async def open(self) -> None:
        """From now on everything that is finished is owed."""
        await self._journal.write(Statement("publish_start", [{"sink": SINK}]))

    async def owed(self) -> AsyncIterator[Owed]:
        """What is owed now, oldest first."""
        after = 0
        while rows := await self._journal.rows("publish_owed", after=after, limit=GROUP):
            ids = list({row["event_id"] for row in rows if row["event_id"]})
            views = await event_views(ids, self._journal, self._library)
            for row in rows:
                yield Owed(row["id"], await self._messages(row, views), row["source"], row["origin"])
            after = rows[-1]["id"]

    async def settle(self, ids: Sequence[int]) -> None:
        """The broker has them; waits while the disk is full, or they would be sent again and again."""
        while True:
            try:
                await self._journal.write(Statement("publish_done", [{"id": number} for number in ids]))
                return
            except JournalError as error:
                if not error.passing:
                    raise
                log.error("what was published cannot be noted", reason=str(error))
            await asyncio.sleep(RETRY)

    async def count(self) -> int:
        """How many entries are owed."""
        row = await self._journal.row("publish_count")
        return int(row["owed"]) if row else 0

    # -- messages ----------------------------------------------------------------------------------------------------

    async def _messages(self, row: Row, views: dict[str, EventView]) -> list[Outgoing]:
        device, plugin = self._device_of(row["source"], row["origin"]), row["plugin"]
        if row["event_id"] is None:
            refusal = RefusalView(source=row["source"], origin=row["origin"], reason=row["reason"], at=0.0)
            return [_json(self.topics.errors(device), refusal_message(row["id"], self.topics.host, refusal))]
        view = views.get(row["event_id"])
        if view is None or row["superseded"] or plugin in view.pending:  # what replaces it is told when it is there
            return []
        event = event_part(view.event, row["source"], row["origin"])
        for failure in view.failures:
            if failure.plugin == plugin:
                message = failure_message(row["id"], self.topics.host, event, failure)
                return [_json(self.topics.errors(device, plugin), message)]
        mine = [result for result in view.results if result.plugin == plugin]
        return await self._result(row["id"], device, plugin, event, mine)

    async def _result(
        self, number: int, device: str, plugin: str, event: EventPart, views: Sequence[ResultView]
    ) -> list[Outgoing]:
        """The files that the plugin made, and then its result, which names them."""
        topic = self.topics.artifacts(device, plugin)
        files: list[Outgoing] = []
        parts = []
        for view in views:
            content = await _content(view)
            if content is not None:
                files.append(Outgoing(topic, content, _media_type(view)))
            known = (topic, Path(view.artifact).stem) if view.artifact and content is not None else (None, None)
            parts.append(result_part(view, *known))
        message = ResultMessage(id=number, host=self.topics.host, plugin=plugin, event=event, results=parts)
        return [*files, _json(self.topics.results(device, plugin), message)]


async def stop_owing(journal: Journal) -> None:
    """From now on nothing is owed, and what was is forgotten: the host publishes no more."""
    rows = [{"sink": SINK}]
    await journal.write(Statement("publish_stop", rows), Statement("publish_forget", rows))


def _json(topic: str, message: View) -> Outgoing:
    return Outgoing(topic, to_json(message))


async def _content(view: ResultView) -> bytes | None:
    """The file of a result; None where there is none, or none any more, or it is too large for a message."""
    if view.artifact is None:
        return None
    return await asyncio.to_thread(_read, Path(view.artifact))


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes() if path.stat().st_size <= PUBLISHED else None
    return None


def _media_type(view: ResultView) -> str:
    said = view.data.get("media_type") if isinstance(view.data, dict) else None
    return said if isinstance(said, str) and said.isprintable() and len(said) <= 100 else "application/octet-stream"
