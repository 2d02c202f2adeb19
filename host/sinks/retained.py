"""What this host has left with the broker for newcomers, remembered so that it can be taken back.

    remembered in the journal → published, retained → true no more → an empty message → forgotten

An inbox may go, a plugin be removed, the host get another name: without this, what it said before would stand at the
broker for ever.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from host.errors import JournalError
from host.journal import Journal, Statement
from host.log import get_logger

log = get_logger(__name__)


class Retained:
    """The topics, each with a note of what is needed to take it back."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._notes: dict[str, str] | None = None

    async def note(self, topic: str) -> str:
        """The note of a topic; empty for one that nothing was left on."""
        return (await self._known()).get(topic, "")

    async def keep(self, notes: Mapping[str, str]) -> None:
        """Remember topics with their notes; to be called before anything is left there."""
        known = await self._known()
        new = {topic: note for topic, note in notes.items() if known.get(topic) != note}
        known.update(new)
        await self._write(Statement("retain", [{"topic": topic, "note": note} for topic, note in new.items()]))

    async def stale(self, current: Collection[str]) -> list[str]:
        """The topics on which something was left that is true no more."""
        return [topic for topic in await self._known() if topic not in current]

    async def forget(self, topic: str) -> None:
        """Nothing is left on this topic any more."""
        (await self._known()).pop(topic, None)
        await self._write(Statement("take_back", [{"topic": topic}]))

    async def _known(self) -> dict[str, str]:
        if self._notes is None:
            self._notes = {row["topic"]: row["note"] for row in await self._journal.rows("retained")}
        return self._notes

    async def _write(self, statement: Statement) -> None:
        """A full disk holds no state up: what is not remembered may stay at the broker, and that is all."""
        try:
            await self._journal.write(statement)
        except JournalError as error:
            if not error.passing:
                raise
            log.warning("it is not remembered what was left with the broker", reason=str(error))
