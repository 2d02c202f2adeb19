"""Names for clusters: from what is known of their members where no model looks, and safe ones for folders."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from hooks import ClusterEnrichment, ClusterLabel

TAGS = 5
WORTH_TELLING = 0.05  # share of the belief in all names
NAME_LENGTH = 60
DEEPEST = 4  # folders of a hierarchy
_SMALL = frozenset({"a", "an", "the", "of", "and", "in", "on", "with", "photo", "picture"})
_WORD = re.compile(r"[^\W\d_]{4,}")
# What some file system or shell has a meaning for, beside what cannot be printed.
_UNSAFE = re.compile(r'[\\/:*?"<>|~$`%]')

Shares = Mapping[str, float]


def label_of_pictures(members: Sequence[Shares], captions: Sequence[str]) -> ClusterLabel | None:
    """A label from the names that another plugin gave the members (with their shares), and their captions.

    The name is the one that fits the members best on average, which is how sure it is. None where there is nothing.
    """
    total = _sums(pair for shares in members for pair in shares.items())
    if not total:
        return ClusterLabel(cluster_name=clean(captions[0]), description=captions[0]) if captions else None
    means = {name: share / len(members) for name, share in total.items()}
    name = next(iter(means))
    tags = [tag for tag, share in means.items() if share >= WORTH_TELLING][:TAGS] or [name]
    return ClusterLabel(
        cluster_name=clean(name),
        description=captions[0] if captions else f"Pictures that look like {', '.join(tags)}.",
        tags=tuple(tags),
        primary_category=_commonest_word(means) or name,
        confidence=round(min(1.0, means[name]), 4),
    )


def label_of_texts(texts: Sequence[str], spread: Mapping[str, float]) -> ClusterLabel | None:
    """A label from the words that most of these texts have and few others; `spread` is each word's share of all."""
    common = _common(texts)
    best = sorted(common, key=lambda word: (-common[word] / max(spread.get(word, 1.0), 1e-6), word))[:TAGS]
    if not best:
        return None
    name = clean(" ".join(best[:3]))
    description = f"Texts that speak of {', '.join(best)}."
    sure = round(sum(common[word] for word in best) / len(best), 4)
    return ClusterLabel(
        cluster_name=name, description=description, tags=tuple(best), primary_category=best[0], confidence=sure
    )


def common_words(texts: Sequence[str]) -> list[str]:
    """The words that most of the texts have, the commonest first."""
    return list(_common(texts))


def _common(texts: Sequence[str]) -> dict[str, float]:
    count = Counter(word for text in texts for word in set(_WORD.findall(text.casefold())))
    return {word: number / len(texts) for word, number in count.most_common() if 2 * number >= len(texts)}


def _commonest_word(means: Shares) -> str:
    words = {name: sorted(set(re.findall(r"[^\W\d_]+", name.casefold())) - _SMALL) for name in means}
    weights = _sums((word, share) for name, share in means.items() for word in words[name])
    return next(iter(weights), "")


def _sums(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    """The sum for each name, the largest first."""
    sums: dict[str, float] = {}
    for name, number in pairs:
        sums[name] = sums.get(name, 0.0) + number
    return dict(sorted(sums.items(), key=lambda pair: -pair[1]))


def clean(text: str) -> str:
    """One printable line that is not too long; empty where nothing is left."""
    line = " ".join("".join(char if char.isprintable() else " " for char in unicodedata.normalize("NFC", text)).split())
    return line[:NAME_LENGTH].strip()


def unique(name: str, taken: Collection[str]) -> str:
    """The name, or with a number where it is taken, whatever the case."""
    used = {one.casefold() for one in taken}
    number, found = 1, name
    while found.casefold() in used:
        number += 1
        found = f"{name} {number}"
    return found


def folder_name(text: str) -> str:
    """A name that a folder or file can have on any system, and that leads nowhere else; empty where nothing is left."""
    return clean(_UNSAFE.sub(" ", text)).strip(" .").lstrip("-")


def folders_of(name: str, label: ClusterLabel | None, enrichment: ClusterEnrichment | None) -> tuple[str, ...]:
    """The folders that lead to a cluster, itself the last: what a model says of its place, made safe."""
    said: Iterable[str] = enrichment.hierarchy if enrichment else ()
    above = [folder for one in said if (folder := folder_name(one))][:DEEPEST]
    if not above and label is not None and (category := folder_name(label.primary_category)):
        above = [category]
    own = folder_name(name) or "cluster"
    if above and above[-1].casefold() == own.casefold():
        above.pop()
    return *above, own
