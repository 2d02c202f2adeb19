"""A question to what is known: passages that speak of it are found, and put to a language model with their times.

    question ─ words and pictures ─ sources with what stands around them ─ the task `question` ─ text in pieces ─ answer

What is found are data for the model and never an instruction; of what it says only numbers of sources have a meaning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import ValidationError

from hooks import Answer, Passage, Task
from host.dispatcher import Dispatcher
from host.errors import WorkFailed
from host.hits import Hits
from host.journal import Journal
from host.plugin_manager import PluginRegistry
from host.search.moments import Find, Moment, fused
from host.search.words import any_expression
from host.sql.functions import joined
from host.views import AnswerView, Hit, PassageView

MOST = 8  # sources
AROUND = 2  # passages before and after one that was found, which say what it is about
LENGTH = 1_200  # characters of a source
UNSAID = "No plugin in use answers questions."
ADVICE = "Name a language model in [plugins.llm] of config.toml: `sensorium models` lists those that are known."
NOTHING = "Nothing that is known speaks of that."
NOT_YET = "Only files whose jobs are done can be found: see `sensorium status`."


class Asking:
    """Finds sources and has them put to a model."""

    def __init__(self, journal: Journal, hits: Hits, registry: PluginRegistry, dispatcher: Dispatcher) -> None:
        self._journal = journal
        self._hits = hits
        self._registry = registry
        self._dispatcher = dispatcher

    async def sources(
        self, question: str, within: Sequence[str] | None, pictures: Sequence[Find] = ()
    ) -> list[PassageView]:
        """What may answer a question, best first: where its words are said, and `pictures` that show it.

        With `within` of these events alone; of those the beginning, where nothing in them has the question's words.
        """
        finds = await self._hits.matching(any_expression(question), MOST, within=within)
        if not finds and within is not None:
            finds = await self._hits.beginning(within, MOST)
        moments = fused([ranking for ranking in (finds, pictures) if ranking])[:MOST]
        hits = await self._hits.views(None, moments)
        return [
            await self._source(number, moment, hit)
            for number, (moment, hit) in enumerate(zip(moments, hits, strict=True), 1)
        ]

    async def _source(self, number: int, moment: Moment, hit: Hit) -> PassageView:
        passage = next((find.passage for find in moment.finds if find.passage is not None), None)
        text = await self._around(passage) if passage is not None else await self._shown(hit.part or hit.event)
        facts = hit.model_dump(include={"origin", "source", "path", "event", "kind", "start", "end"})
        return PassageView(number=number, text=text, **facts)

    async def _around(self, passage: int) -> str:
        """A passage and what was said before and after it, without another result's words."""
        first = max(passage - AROUND, passage >> 20 << 20)
        last = min(passage + AROUND, passage >> 20 << 20 | (1 << 20) - 1)
        rows = await self._journal.rows("passages_around", first=first, last=last)
        return " ".join(joined(str(row["body"])) for row in rows)[:LENGTH]

    async def _shown(self, event: str) -> str:
        """What is known of a picture that was found by what it shows."""
        rows = await self._journal.rows("results_of_events", ids=json.dumps([event]))
        said = [json.loads(row["data"]) for row in rows if row["type"] in ("labels", "caption")]
        words = [text for data in said if isinstance(data, dict) for text in _words(data)]
        return f"A picture of: {', '.join(words)}."[:LENGTH] if words else "A picture."

    async def answer(self, question: str, sources: list[PassageView], each: Callable[[str], None]) -> AnswerView:
        """What a model says, `each` piece of it as it comes; or why none says anything."""
        if not sources:
            return _unanswered(question, "nothing found", [], NOTHING, NOT_YET)
        performer = self._registry.performer("question")
        if performer is None:
            return _unanswered(question, "no language model", sources, UNSAID, ADVICE)
        passages = [
            Passage(source=one.origin, text=one.text, start=one.start, end=one.end).model_dump(mode="json")
            for one in sources
        ]
        task = Task(name="question", values={"question": question, "passages": passages})
        try:
            findings = await self._dispatcher.perform(performer.name, task, each)
            said = next(finding.data for finding in findings if finding.type == Answer.type)
            answer = Answer.model_validate(said, strict=False)
        except WorkFailed as error:
            return _unanswered(question, "failed", sources, error.message, error.hint)
        except (StopIteration, ValidationError):
            problem = f"{performer.name} gave no answer of the right shape."
            return _unanswered(question, "failed", sources, problem, "Another model may do better.")
        cited = [one.model_copy(update={"cited": one.number in answer.sources}) for one in sources]
        provenance = {"by": performer.name, **self._dispatcher.provenance(performer.name)}
        return AnswerView(question=question, state="answered", text=answer.text, sources=cited, provenance=provenance)


def _unanswered(
    question: str,
    state: Literal["nothing found", "no language model", "failed"],
    sources: list[PassageView],
    problem: str,
    advice: str,
) -> AnswerView:
    return AnswerView(question=question, state=state, sources=sources, problem=problem, advice=advice)


def _words(data: dict[str, object]) -> list[str]:
    match data:
        case {"text": str(text)}:
            return [text]
        case {"labels": [*labels]}:
            return [str(one["name"]) for one in labels[:3] if isinstance(one, dict) and "name" in one]
    return []
