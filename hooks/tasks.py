"""Tasks that somebody waits for and that are about no single event: what is asked, and the answers that have a shape.

A plugin names the tasks that it `performs`; the host puts a `Task` of that name to it ahead of every job.

    task            values                                  files              answer
    group           count, known …, see `Grouping`          vectors, centres   Grouping
    contact_sheet   title, facts, captions                  pictures           Artifact
    label_cluster   size                                    1 to 5 pictures    ClusterLabel
    enrich_cluster  name, description, captions             none               ClusterEnrichment
    question        question, passages, see `Passage`       none               pieces of text, then Answer
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from hooks.results import ResultData, float32_bytes


class Task(BaseModel):
    """What somebody waits for: `values` are data, never instructions; `files` lie where the worker can open them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    values: dict[str, JsonValue] = Field(default_factory=dict)
    files: tuple[Path, ...] = ()


class Grouping(ResultData):
    """Vectors in groups: for each row the number of its group from 0 on, or -1 where it belongs to none.

    `scores` are the rows' cosine similarities with their group's centre, 0 without one. `centres` holds a unit vector
    of float32 for each group, one after the other; `reaches` says how similar to it a vector must at least be to join.
    `smallest` is how many vectors make a group.

    The task `group` has rows of float32 unit vectors in its first file, with `dimensions` numbers each, and `count` of
    them in the space altogether. With `reaches`, and the centres of known groups in its second file, rows join those
    and no group is made.
    """

    type = "grouping"
    blob_field = "centres"
    groups: tuple[int, ...]
    scores: tuple[float, ...]
    reaches: tuple[float, ...]
    smallest: int
    centres: Annotated[bytes, BeforeValidator(float32_bytes)] = Field(repr=False)


class ClusterLabel(ResultData):
    """What a group of pictures or texts has in common; `confidence` from 0 to 1."""

    type = "cluster_label"
    cluster_name: str
    description: str = ""
    tags: tuple[str, ...] = ()
    primary_category: str = ""
    confidence: float = Field(0.0, ge=0, le=1)


class ClusterRelations(BaseModel):
    """Names of what a cluster is like, and of what it is a part."""

    model_config = ConfigDict(frozen=True)
    similar_to: tuple[str, ...] = ()
    parent: str = ""


class ClusterEnrichment(ResultData):
    """Where a cluster belongs: `hierarchy` from the general to the particular, `folder_path` the same as a path.

    Both are what a model says, for people: whoever makes folders of them makes the names safe first.
    """

    type = "cluster_enrichment"
    hierarchy: tuple[str, ...] = ()
    folder_path: str = ""
    extended_tags: tuple[str, ...] = ()
    relationships: ClusterRelations = ClusterRelations()
    search_description: str = ""


class Passage(BaseModel):
    """Something found that may answer a question: `source` is what people call it; times are seconds in it."""

    model_config = ConfigDict(frozen=True)
    source: str
    text: str
    start: float | None = None
    end: float | None = None


class Answer(ResultData):
    """What a model says to a question: `text` in whole, and the numbers of the passages that it relies on, from 1."""

    type = "answer"
    text: str
    sources: tuple[int, ...] = ()
