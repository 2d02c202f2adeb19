"""How good the bundled model is on fresh cases, through the plugin's own wordings.

`python -m tools.train_llm.evaluate`
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from hooks import Device
from plugins.generation.answers import json_in
from plugins.generation.local import LocalModel
from plugins.generation.request import Backend, GenerationFailed
from plugins.generation.running import Runner
from plugins.generation.tasks import tasks_in
from plugins.llm.settings import HERE, TASKS, catalog
from tools.train_llm.world import KINDS, Case

MODEL = HERE / catalog()["bundled"].folder / "model.gguf"
REQUIRED = {"table name and fields": 0.93, "hierarchy": 0.93, "summary": 0.90, "valid by its schema": 1.0}


@dataclass(frozen=True, slots=True)
class Score:
    """How many of how many were right."""

    name: str
    right: int
    of: int

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.right / self.of


def scores(backend: Backend, cases: int, seed: int = 0) -> list[Score]:
    """The measures of the model card, on `cases` fresh cases of each kind."""
    tasks = tasks_in(TASKS)
    right: dict[str, list[bool]] = {}
    for number, make in enumerate(KINDS.values()):
        random = Random(1000 * seed + number)
        for _ in range(cases):
            case = make(random, "test")
            try:
                data, _ = Runner(backend, "bundled", brief=True).run(tasks[case.task], case.values)
                said = data.model_dump(mode="json")
            except GenerationFailed:
                said = None
            right.setdefault("valid by its schema", []).append(said is not None)
            for name, is_right in _judged(case, said or {}).items():
                right.setdefault(name, []).append(is_right)
    return [Score(name, sum(found), len(found)) for name, found in right.items()]


def _judged(case: Case, said: dict[str, object]) -> dict[str, bool]:
    if case.task == "summary":
        return {"summary": said.get("text") == case.answer}
    wanted = json_in(case.answer)
    if case.task == "enrich-cluster":
        return {
            "hierarchy": said.get("hierarchy") == wanted["hierarchy"],
            "hierarchy, path and tags": all(said.get(key) == value for key, value in wanted.items()),
        }
    fields = said.get("fields")
    found = {one["name"]: one["type"] for one in fields} if isinstance(fields, list) else {}
    types = {one["name"]: one["type"] for one in wanted["fields"]}
    named = said.get("table_name") == wanted["table_name"] and set(found) == set(types)
    return {
        "table name and fields": named,
        "table, fields, types, storage": named and found == types and said["storage_type"] == wanted["storage_type"],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a requirement is missed."""
    parser = argparse.ArgumentParser(prog="python -m tools.train_llm.evaluate")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args(arguments)
    backend = LocalModel(chosen.model, Device(name="cpu", kind="cpu", memory_mb=1000), context=512)
    found = scores(backend, chosen.cases, chosen.seed)
    backend.close()
    if chosen.json:
        print(json.dumps({score.name: score.share for score in found}))
    for score in () if chosen.json else found:
        print(f"{score.name:32} {score.share:6.1%} of {score.of}, required {REQUIRED.get(score.name, 0):.0%}")
    return int(any(score.share < REQUIRED.get(score.name, 0) for score in found))


if __name__ == "__main__":
    raise SystemExit(main())
