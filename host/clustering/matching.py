"""Which new group is which known cluster: told by their members, so that a name stays with what it named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SAME = 1 / 3  # share of the members of either that both have, from which on they are the same cluster


@dataclass(frozen=True, slots=True)
class Match:
    """How much a new group and a known cluster have in common, from 0 to 1 (Jaccard)."""

    group: int
    cluster: int
    share: float


def matched(groups: Mapping[int, int], known: Mapping[int, int]) -> dict[int, int]:
    """The known cluster of each new group that has one; no two groups have the same.

    Both map vectors to a group or cluster; what is in none is not in the map. Only vectors that were grouped before
    count, so that what a cluster gains does not make another one of it. A cluster that falls in two stays with the
    larger part; of two that become one the larger name stays.
    """
    before = Counter(known.values())
    now = Counter(group for vector, group in groups.items() if vector in known)
    both = Counter((group, known[vector]) for vector, group in groups.items() if vector in known)
    matches = [
        Match(group, cluster, common / (now[group] + before[cluster] - common))
        for (group, cluster), common in both.items()
    ]
    return _greedy([match for match in matches if match.share >= SAME])


def _greedy(matches: Sequence[Match]) -> dict[int, int]:
    found: dict[int, int] = {}
    for match in sorted(matches, key=lambda match: (-match.share, match.cluster)):
        if match.group not in found and match.cluster not in found.values():
            found[match.group] = match.cluster
    return found
