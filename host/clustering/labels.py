"""What a cluster is called: by a model that looks at its most typical members, once; else by what is known of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from hooks import ClusterEnrichment, ClusterLabel, ResultData, Task
from host.clustering import naming
from host.dispatcher import Dispatcher
from host.errors import WorkFailed
from host.handover import bring
from host.journal import Journal, Row, Statement
from host.library import Library
from host.plugin_manager import PluginRegistry
from host.search.words import match_expression
from host.views import ClusterRun

PICTURES = 5  # that a model looks at
TYPICAL = 25  # members whose results are asked when no model looks
CAPTIONS = 10
TEXT_LENGTH = 2_000
RARE_WORDS = 12

T = TypeVar("T", bound=ResultData)


class Labeller:
    """Names clusters that have no name."""

    def __init__(self, journal: Journal, library: Library, registry: PluginRegistry, dispatcher: Dispatcher) -> None:
        self._journal = journal
        self._library = library
        self._registry = registry
        self._dispatcher = dispatcher

    async def label_all(self, report: ClusterRun, *, again: bool = False) -> None:
        """Label what has no label, or with `again` everything; each is committed before the next is begun."""
        rows = await self._journal.rows("clusters", space=None)
        names = {row["id"]: row["name"] for row in rows}
        for row in rows:
            if row["label"] is None or again:
                taken = [name for number, name in names.items() if number != row["id"]]
                names[row["id"]] = await self._label(row, taken, report)
                report.labelled.append(names[row["id"]])

    async def _label(self, row: Row, taken: Sequence[str], report: ClusterRun) -> str:
        members = await self._journal.rows("members", cluster=row["id"], limit=TYPICAL)
        provenance = {**json.loads(row["provenance"]), "members": [member["id"] for member in members[:PICTURES]]}
        label = await self._said_of_pictures(members, row["size"], provenance, report)
        captions = await self._captions(members)
        if label is None:
            label = await self._known(members, captions) or ClusterLabel(cluster_name=f"cluster {row['id']}")
            provenance["labelled"] = {"by": "what other plugins found"}
        name = naming.unique(naming.clean(label.cluster_name) or f"cluster {row['id']}", taken)
        enrichment = await self._enriched(name, label, captions, provenance, report)
        change = {
            "id": row["id"],
            "name": name,
            "label": label.model_dump_json(),
            "enrichment": enrichment.model_dump_json() if enrichment else None,
            "provenance": json.dumps(provenance),
        }
        await self._journal.write(Statement("label_cluster", [change]))
        return name

    # -- by a model: one call each -----------------------------------------------------------------------------------

    async def _said_of_pictures(
        self, members: Sequence[Row], size: int, provenance: dict[str, Any], report: ClusterRun
    ) -> ClusterLabel | None:
        pictures = [member for member in members if member["kind"] == "image"][:PICTURES]
        if not pictures:
            return None
        await bring(pictures, self._journal, self._library)
        files = tuple(self._library.resolve(picture["location"]) for picture in pictures)
        task = Task(name="label_cluster", values={"size": size}, files=files)
        return await self._asked(task, ClusterLabel, "labelled", provenance, report)

    async def _enriched(
        self,
        name: str,
        label: ClusterLabel,
        captions: Sequence[str],
        provenance: dict[str, Any],
        report: ClusterRun,
    ) -> ClusterEnrichment | None:
        values = {"name": name, "description": label.description, "captions": list(captions)}
        task = Task(name="enrich_cluster", values=values)
        return await self._asked(task, ClusterEnrichment, "enriched", provenance, report)

    async def _asked(
        self, task: Task, shape: type[T], step: str, provenance: dict[str, Any], report: ClusterRun
    ) -> T | None:
        """What a model says; None where none performs the task, or it fails, and the report then says why."""
        performer = self._registry.performer(task.name)
        if performer is None:
            return None
        report.calls += 1
        try:
            findings = await self._dispatcher.perform(performer.name, task)
            said = next(finding.data for finding in findings if finding.type == shape.type)
            found = shape.model_validate(said, strict=False)
        except (WorkFailed, StopIteration, ValidationError) as error:
            reason = error.message if isinstance(error, WorkFailed) else "it gave no answer of the right shape"
            report.problems.append(f"{performer.name} could not do {task.name}: {reason}")
            return None
        provenance[step] = {"by": performer.name, **self._dispatcher.provenance(performer.name)}
        return found

    # -- by what is known --------------------------------------------------------------------------------------------

    async def _captions(self, members: Sequence[Row]) -> list[str]:
        found = await self._results(members)
        captions = [data["text"] for kind, data in found if kind == "caption" and isinstance(data.get("text"), str)]
        return list(dict.fromkeys(filter(None, captions)))[:CAPTIONS]

    async def _known(self, members: Sequence[Row], captions: Sequence[str]) -> ClusterLabel | None:
        labels = [_shares(data) for kind, data in await self._results(members) if kind == "labels"]
        if label := naming.label_of_pictures(labels, captions):
            return label
        ids = json.dumps([member["id"] for member in members])
        rows = await self._journal.rows("passages_of_events", ids=ids, limit=100 * TYPICAL)
        texts: dict[str, str] = {}
        for row in rows:
            text = texts.get(row["event_id"], "")
            texts[row["event_id"]] = f"{text} {row['body']}"[:TEXT_LENGTH]
        return naming.label_of_texts(list(texts.values()), await self._spread(list(texts.values())))

    async def _spread(self, texts: Sequence[str]) -> dict[str, float]:
        """How large a share of all passages has each of the words that most of the texts have."""
        spread = {}
        for word in naming.common_words(texts)[:RARE_WORDS]:
            row = await self._journal.row("count_passages", match=match_expression(word))
            if row is not None and row["passages"]:
                spread[word] = row["matching"] / row["passages"]
        return spread

    async def _results(self, members: Sequence[Row]) -> list[tuple[str, dict[str, Any]]]:
        """Type and data of what was found in the members, the most typical first."""
        ids = [member["id"] for member in members]
        rows = await self._journal.rows("results_of_events", ids=json.dumps(ids))
        place = {event: number for number, event in enumerate(ids)}
        ordered = sorted(rows, key=lambda row: place[row["event_id"]])
        found = [(row["type"], json.loads(row["data"])) for row in ordered if row["type"] in ("labels", "caption")]
        return [(kind, data) for kind, data in found if isinstance(data, dict)]


def _shares(data: dict[str, Any]) -> dict[str, float]:
    """The names of a `labels` result with their shares; nothing of what has another shape."""
    found = {}
    for one in data.get("labels") or ():
        match one:
            case {"name": str(name), "score": int() | float() as score}:
                found[name] = float(score)
    return found
