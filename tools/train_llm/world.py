"""Cases of the made-up world: what is filled into a task of the plugin, and the answer that is right.

Training and test have no pair of keys in common: subject and place, owner and thing, topic and action.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, TypeVar

from tools.train_llm import words

Split = Literal["train", "test"]
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Case:
    """`values` are those of the task's wording; `answer` is the exact text that is right."""

    task: str
    values: Mapping[str, Any]
    answer: str


def cluster(random: Random, split: Split) -> Case:
    """A cluster of photographs: two to four captions of one subject at one place."""
    subject, place = _pair(random, split, list(words.CATEGORY), words.PLACES)
    captions, tags = [], set()
    for _ in range(random.randint(2, 4)):
        colour, time = random.choice(words.COLOURS), random.choice(words.TIMES)
        form = random.choice(words.CAPTIONS)
        captions.append(form.format(colour=colour, subject=subject, place=place, time=time))
        tags |= {colour, time} if "{time}" in form else {colour}
    name = random.choice(words.CLUSTER_NAMES).format(subject=subject, place=place)
    category = words.CATEGORY[subject]
    answer = {
        "hierarchy": [category, subject.capitalize(), place.capitalize()],
        "folder_path": f"{category.lower()}/{subject}/{place}",
        "extended_tags": [subject, place, *sorted(tags)],  # sorted: their order of appearance is much harder to learn
    }
    return Case("enrich-cluster", {"name": name, "captions": [f"- {one}" for one in captions]}, json.dumps(answer))


def records(random: Random, split: Split) -> Case:
    """Two records of three to five fields, with the name of their file."""
    owner, thing = _pair(random, split, words.OWNERS, words.THINGS)
    names = _unique(random.sample(list(words.FIELD_TYPES) + words.OPEN_FIELDS * 2, random.randint(3, 5)))
    if random.random() < 0.5:
        names = [name for name in names if words.FIELD_TYPES.get(name) != "json"] or ["name"]
    types = {
        name: words.FIELD_TYPES.get(name) or random.choice(["integer", "real", "text", "boolean"]) for name in names
    }
    rows = [json.dumps({name: _value(random, types[name]) for name in names}) for _ in range(2)]
    answer = {
        "table_name": f"{owner}_{thing}",
        "storage_type": "document" if "json" in types.values() else "sql",
        "fields": [{"name": name, "type": types[name]} for name in names],
    }
    return Case("data-schema", {"collection": f"{owner} {thing}", "samples": rows}, json.dumps(answer))


def meeting(random: Random, split: Split) -> Case:
    """A transcript in which two people decide something."""
    topic, action = _pair(random, split, words.TOPICS, words.ACTIONS)
    first, second = random.sample(words.NAMES, 2)
    day, lines = random.choice(words.DAYS), []
    if random.random() < 0.4:
        lines.append(f"{random.choice([first, second])}: {random.choice(words.ASIDES)}")
    lines.append(f"{first}: {random.choice(words.OPENINGS).format(other=second, topic=topic)}")
    lines.append(f"{second}: {random.choice(words.REPLIES)}")
    if random.random() < 0.3:
        lines.append(f"{first}: {random.choice(words.ASIDES)}")
    decides = random.choice([first, second])
    lines.append(f"{decides}: {random.choice(words.DECISIONS).format(action=action, day=day)}")
    lines.append(f"{second if decides == first else first}: {random.choice(words.CLOSINGS)}")
    answer = f"{first} and {second} discuss the {topic} and decide to {action} on {day}."
    return Case("summary", {"text": "\n".join(lines)}, answer)


KINDS: dict[str, Callable[[Random, Split], Case]] = {"cluster": cluster, "records": records, "meeting": meeting}


def case(random: Random, split: Split = "train") -> Case:
    """A case of any kind."""
    return KINDS[random.choice(list(KINDS))](random, split)


def _pair(random: Random, split: Split, firsts: Sequence[Key], seconds: Sequence[Key]) -> tuple[Key, Key]:
    while True:
        pair = random.choice(firsts), random.choice(seconds)
        held_out = zlib.crc32("|".join(map(str, pair)).encode()) % 8 == 0
        if held_out == (split == "test"):
            return pair


def _unique(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _value(random: Random, kind: str) -> Any:
    if kind == "integer":
        return random.randint(1, 999)
    if kind == "real":
        return round(random.uniform(0, 99) + 0.01, 2)
    if kind == "text":
        return random.choice(words.VALUES)
    if kind == "boolean":
        return random.random() < 0.5
    several = [random.choice(words.VALUES) for _ in range(random.randint(1, 2))]
    return several if random.random() < 0.5 else {"k": random.choice(words.VALUES)}
