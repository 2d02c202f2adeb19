"""Finds in texts and among pictures, looked up in the journal, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from host.journal import Journal, Row
from host.library import Library
from host.reports import event_facts
from host.search import Search
from host.search.moments import Find, Moment, one_a_moment
from host.search.words import match_expression
from host.sql.functions import joined
from host.views import Hit

PICTURE = "picture"
DEPTH = 50  # finds of each ranking that are joined, at least
Finds = tuple[list[Find], bool]  # best first, and whether these are all


class Hits:
    """Asks the journal for words and the index for vectors."""

    def __init__(self, journal: Journal, library: Library, index: Search) -> None:
        self._journal = journal
        self._library = library
        self._index = index

    async def with_words(self, text: str, kind: str | None, limit: int) -> list[Find]:
        """Where all words of a text are said, best first, one find a moment; of files of one kind, if that is given."""
        return await self.matching(match_expression(text), limit, kind=kind)

    async def matching(
        self, expression: str | None, limit: int, *, kind: str | None = None, within: Sequence[str] | None = None
    ) -> list[Find]:
        """What an expression of the full-text search finds; in files of one kind, or in some events, if so wished."""
        if expression is None:
            return []
        events = None if within is None else json.dumps(list(within))

        async def find(count: int) -> Finds:
            rows = await self._journal.rows("find_passages", match=expression, kind=kind, events=events, limit=count)
            above = await self._above(row["event_id"] for row in rows)
            finds = [_find_of_passage(row, above) for row in rows if _is_whole(row["event_id"], above)]
            return finds, len(rows) < count

        return await _enough(find, limit)

    async def beginning(self, within: Sequence[str], limit: int) -> list[Find]:
        """The first passages of some events."""
        rows = await self._journal.rows("first_passages", events=json.dumps(list(within)), limit=limit)
        above = await self._above(row["event_id"] for row in rows)
        return [_find_of_passage(row, above) for row in rows if _is_whole(row["event_id"], above)]

    async def near(self, space: str, vector: bytes, kind: str | None, limit: int) -> list[Find]:
        """What is nearest to a vector, best first, one find a moment; of files of one kind, if that is given."""

        async def find(count: int) -> Finds:
            neighbours = await self._index.nearest(space, vector, count)
            above = await self._above(one.event_id for one in neighbours)
            there = [one for one in neighbours if _is_whole(one.event_id, above)]
            finds = [_find_of_picture(one.event_id, one.score, above) for one in there]
            return [find for find in finds if kind in (None, above[find.event]["kind"])], len(neighbours) < count

        return await _enough(find, limit)

    async def _above(self, event_ids: Iterable[str]) -> dict[str, Row]:
        """Events, and all that they were derived from, by id; without what is stale, or gone by now."""
        rows = await self._journal.rows("events_and_above", ids=json.dumps(sorted(set(event_ids))))
        return {row["id"]: row for row in rows}

    async def views(self, text: str | None, moments: Sequence[Moment]) -> list[Hit]:
        """What is said of moments."""
        events = await self._above(moment.best.event for moment in moments)
        snippets = await self._snippets(text, [find.passage for moment in moments for find in moment.finds])
        return [_hit(moment, events[moment.best.event], snippets, self._library) for moment in moments]

    async def _snippets(self, text: str | None, passages: Sequence[int | None]) -> dict[int | None, str]:
        ids = json.dumps([passage for passage in passages if passage is not None])
        rows = await self._journal.rows("snippets", match=match_expression(text), ids=ids) if text else []
        return {row["id"]: " ".join(joined(row["snippet"]).split()) for row in rows}


async def _enough(find: Callable[[int], Awaitable[Finds]], limit: int) -> list[Find]:
    """So many finds, one a moment; asks for more as long as too many are of one moment or of another kind."""
    count = 2 * limit
    while True:
        finds, are_all = await find(count)
        kept = one_a_moment(finds, limit)
        if are_all or len(kept) == limit:
            return kept
        count *= 4


def _find_of_passage(row: Row, above: Mapping[str, Row]) -> Find:
    event, moment = _place(row["event_id"], above)
    begins, ends = (None if time is None else (moment or 0.0) + time for time in (row["begins"], row["ends"]))
    if begins is None:
        begins = ends = moment
    return Find(event, row["event_id"], row["type"], start=begins, end=ends, passage=row["id"])


def _find_of_picture(part: str, score: float, above: Mapping[str, Row]) -> Find:
    event, moment = _place(part, above)
    return Find(event, part, PICTURE, score, start=moment, end=moment)


def _is_whole(part: str, above: Mapping[str, Row]) -> bool:
    """Whether a part and all above it is there."""
    while (row := above.get(part)) is not None and row["parent"] is not None:
        part = row["parent"]
    return row is not None


def _place(part: str, above: Mapping[str, Row]) -> tuple[str, float | None]:
    """What arrived of which this is a part, and the seconds from its beginning where the part begins, if it has any."""
    row = above[part]
    moment = row["moment"]
    while row["parent"] is not None:
        row = above[row["parent"]]
        if row["moment"] is not None:
            moment = row["moment"] + (moment or 0.0)
    return row["id"], moment


def _hit(moment: Moment, row: Row, snippets: Mapping[int | None, str], library: Library) -> Hit:
    facts, best = event_facts(row, library), moment.best
    return Hit(
        score=moment.score,
        path=facts.path,
        event=facts.id,
        origin=facts.origin,
        source=facts.source,
        kind=facts.kind,
        start=best.start,
        end=best.end,
        snippet=next((snippets[find.passage] for find in moment.finds if find.passage in snippets), ""),
        matched=list(dict.fromkeys(one.by for one in moment.finds)),
        part=None if best.part == best.event else best.part,
    )
