"""Where something was found: in a file, or at a moment of one. And how several rankings of that become one.

Rankings are joined by reciprocal rank fusion: what is at place r of a ranking gets 1 / (60 + r) from it. Only places
count, so that similarities of vectors and weights of words need no common scale. Cormack, Clarke and Büttcher,
"Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

NEAR = 10.0  # seconds between two finds in one file that are one moment
CONSTANT = 60


@dataclass(frozen=True, slots=True)
class Find:
    """One thing that was found: `event` arrived, `part` of it (or the same) is where it was found.

    `start` and `end` are seconds from the beginning of what arrived, None for what has no time. `by` is the type of the
    result that was found, `score` its own; `passage` is its number when there are words to show.
    """

    event: str
    part: str
    by: str
    score: float = 0.0
    start: float | None = None
    end: float | None = None
    passage: int | None = None

    def is_near(self, other: Find) -> bool:
        """Whether both are of one moment of a file."""
        if self.event != other.event:
            return False
        if self.start is None or other.start is None:
            return self.start is other.start
        return self.start <= _end(other) + NEAR and other.start <= _end(self) + NEAR


@dataclass(slots=True)
class Moment:
    """What was found at one place, best first: one find of each ranking that has it."""

    finds: list[Find] = field(default_factory=list)
    score: float = 0.0

    @property
    def best(self) -> Find:
        return self.finds[0]


def one_a_moment(finds: Iterable[Find], limit: int) -> list[Find]:
    """The first find of each moment, at most `limit`; `finds` come best first."""
    kept: list[Find] = []
    by_event: dict[str, list[Find]] = {}
    for find in finds:
        neighbours = by_event.setdefault(find.event, [])
        if len(kept) < limit and not any(find.is_near(one) for one in neighbours):
            neighbours.append(find)
            kept.append(find)
    return kept


def fused(rankings: Sequence[Sequence[Find]]) -> list[Moment]:
    """The moments of several rankings, best first; a score of 1 is the first place in each. Ties keep their order."""
    moments: list[Moment] = []
    by_event: dict[str, list[Moment]] = {}
    for ranking in rankings:
        taken: set[int] = set()
        for place, find in enumerate(ranking, 1):
            known = by_event.setdefault(find.event, [])
            moment = next((one for one in known if find.is_near(one.best)), None)
            if moment is None:
                moment = Moment()
                known.append(moment)
                moments.append(moment)
            if id(moment) not in taken:  # a second find beside it is the same moment
                taken.add(id(moment))
                moment.finds.append(find)
                moment.score += (CONSTANT + 1) / (CONSTANT + place) / len(rankings)
    return sorted(moments, key=lambda moment: -moment.score)


def _end(find: Find) -> float:
    return max(find.start or 0.0, find.end or 0.0)
