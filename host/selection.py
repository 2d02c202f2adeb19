"""Which of the models that plugins know is meant for a content, by what somebody wishes, within a device's memory.

    speed     the best mark of those that compute with at most 8 billion parameters for a word, in their smallest form
    balanced  the best mark of those that leave a quarter of the memory to other models, and of at most 16 billion
    quality   the best mark of those that fit, in their largest form
Marks are those of the catalogs. What fits is what the leases would grant: a worker's memory within a device's budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from hooks import KnownModel
from host.views import View

Wish = Literal["speed", "balanced", "quality"]
WISHES: tuple[Wish, ...] = ("speed", "balanced", "quality")
QUICK, BALANCED = 8.0, 16.0  # billions of parameters that work at a time
SHARE = 0.75  # of the memory, for one model among others
NEAR = 3  # others that are told of
SYNONYMS = {
    "programming": "code", "coding": "code", "science": "maths", "math": "maths", "education": "general",
    "reasoning": "general",
}  # fmt: skip


class Choice(View):
    """What was chosen for a content and a wish; `model` is None where nothing fits. `others`: why not a better one."""

    content: str
    wish: Wish
    memory_mb: int
    plugin: str = ""
    model: KnownModel | None = None
    reason: str
    others: tuple[str, ...] = ()


def contents(models: Mapping[str, Sequence[KnownModel]]) -> list[str]:
    """What there are marks for."""
    return sorted({content for known in models.values() for one in known for content in one.good_for})


def choose(models: Mapping[str, Sequence[KnownModel]], content: str, wish: Wish, memory_mb: int) -> Choice:
    """The model for a content, of those that plugins know."""
    content = SYNONYMS.get(content, content)
    fitting = [
        (plugin, one)
        for plugin, known in models.items()
        for one in known
        if content in one.good_for and 0 < one.memory_mb <= memory_mb
    ]
    near = _near(models, content, memory_mb)
    facts = {"content": content, "wish": wish, "memory_mb": memory_mb}
    if not fitting:
        return Choice(**facts, reason=f"No known model for {content} fits {memory_mb} MB.", others=near)
    limited = [(plugin, one) for plugin, one in fitting if _is_meant(one, wish, memory_mb)]
    pool = limited or [min(fitting, key=lambda pair: pair[1].memory_mb)]
    sign = 1 if wish == "quality" else -1
    plugin, best = max(pool, key=lambda pair: (pair[1].good_for[content], sign * pair[1].memory_mb))
    better = near if wish == "quality" else (*_passed_over(fitting, best, content, wish, memory_mb), *near)[:NEAR]
    return Choice(
        **facts, plugin=plugin, model=best, reason=_reason(best, content, wish, memory_mb, bool(limited)), others=better
    )


def profile(models: Mapping[str, Sequence[KnownModel]], memory_mb: int) -> list[Choice]:
    """What the rules say for every content and wish on a device of a size."""
    return [choose(models, content, wish, memory_mb) for content in contents(models) for wish in WISHES]


def _is_meant(one: KnownModel, wish: Wish, memory_mb: int) -> bool:
    if wish == "speed":
        return _work(one) <= QUICK
    return wish == "quality" or (_work(one) <= BALANCED and one.memory_mb <= SHARE * memory_mb)


def _work(one: KnownModel) -> float:
    return one.active or one.parameters


def _reason(best: KnownModel, content: str, wish: Wish, memory_mb: int, is_meant: bool) -> str:
    size = f"it takes about {best.memory_mb} of {memory_mb} MB"
    if not is_meant:
        return f"None is meant for {wish} here; it is the smallest for {content} that fits: {size}."
    limits = {
        "speed": f"of at most {QUICK:g} billion parameters at work",
        "balanced": f"that leave a quarter of the memory to others, of at most {BALANCED:g} billion at work",
        "quality": "that fit",
    }
    return f"It has the best mark for {content} ({best.good_for[content]}) of those {limits[wish]}: {size}."


def _near(models: Mapping[str, Sequence[KnownModel]], content: str, memory_mb: int) -> tuple[str, ...]:
    """Models of better marks that do not fit, the best first."""
    smallest: dict[str, KnownModel] = {}
    for one in (one for known in models.values() for one in known if content in one.good_for):
        if one.name not in smallest or one.memory_mb < smallest[one.name].memory_mb:
            smallest[one.name] = one
    large = [one for one in smallest.values() if not 0 < one.memory_mb <= memory_mb]
    large.sort(key=lambda one: -one.good_for[content])
    return tuple(
        f"{one.name} ({one.good_for[content]}) needs {one.memory_mb} MB."
        if one.memory_mb
        else f"{one.name} ({one.good_for[content]}) is for servers."
        for one in large[:NEAR]
    )


def _passed_over(
    fitting: Iterable[tuple[str, KnownModel]], best: KnownModel, content: str, wish: Wish, memory_mb: int
) -> list[str]:
    better = {
        one.name: f"{one.name} ({one.good_for[content]}) fits, but is not meant for {wish}."
        for _, one in fitting
        if one.good_for[content] > best.good_for[content] and not _is_meant(one, wish, memory_mb)
    }
    return list(better.values())
