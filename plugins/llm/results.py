"""What the language tasks find: the classes of their answers, and so the one source of their schemas.

What a model says is data: a folder path is a label that was made harmless here, and nobody opens it.
"""

from __future__ import annotations

import ast
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from hooks import ResultData
from plugins.generation.tasks import Generation

ODD_IN_PATH = re.compile(r"[^\w .,()&+-]+")
DEEPEST_FOLDER = 6


def _short(length: int) -> BeforeValidator:
    """Cuts a text: a model that says too much of one thing may be right in all others."""
    return BeforeValidator(lambda value: value.strip()[:length].strip() if isinstance(value, str) else value)


Name = Annotated[str, _short(80), Field(min_length=1, max_length=80)]
Sentence = Annotated[str, _short(600), Field(max_length=600)]
Names = Annotated[tuple[Name, ...], Field(max_length=24)]
Sentences = Annotated[tuple[Sentence, ...], Field(max_length=16)]


def folder_label(text: str) -> str:
    """A relative path of ordinary names, whatever a model said: no `..`, no hidden name, no root."""
    names = (ODD_IN_PATH.sub(" ", part).strip(" .") for part in text.replace("\\", "/").split("/"))
    return "/".join([name[:60] for name in names if name][:DEEPEST_FOLDER])


def code_problem(text: str) -> str | None:
    """Why a text is no Python, None where it is; it is compiled, never run."""
    try:
        compile(text, "<answer>", "exec", flags=ast.PyCF_ONLY_AST, dont_inherit=True)
        compile(text, "<answer>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        return f"line {getattr(error, 'lineno', None) or '?'}: {error}"
    return None


def _python(text: str) -> str:
    problem = code_problem(text)
    if problem:
        raise ValueError(f"it is no Python ({problem})")
    return text


class Piece(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True)


class Told(ResultData):
    """An answer in words; `generation` says how it came about."""

    text: str = Field(min_length=1)
    generation: SkipJsonSchema[Generation | None] = None


class Summary(Told):
    """What a text says, shorter."""

    type = "summary"

    def texts(self) -> dict[str, str]:
        return {".summary.txt": f"{self.text}\n"}


class Translation(Told):
    """The same in another language."""

    type = "translation"


class Reply(Told):
    """The answer to a question; with numbered sources it refers to them as [1]."""

    type = "reply"


class Code(Told):
    """A program in Python that compiles; nobody has run it."""

    type = "code"
    text: Annotated[str, AfterValidator(_python)] = Field(min_length=1)


class Structured(ResultData):
    """An answer with fields of its own; `generation` says how it came about."""

    generation: SkipJsonSchema[Generation | None] = None


class Title(Structured):
    """A title and a handful of tags."""

    type = "title"
    title: Annotated[str, _short(160), Field(min_length=1, max_length=160)]
    tags: Names


class ActionItem(Piece):
    """Something that somebody shall do; who and until when are empty where nobody said."""

    task: Sentence
    owner: Annotated[str, _short(80), Field(max_length=80)]
    due: Annotated[str, _short(80), Field(max_length=80)]


class KeyPoints(Structured):
    """What matters in a text, and what was agreed to be done."""

    type = "key_points"
    key_points: Sentences
    action_items: Annotated[tuple[ActionItem, ...], Field(max_length=16)]


FieldType = Literal["integer", "real", "text", "boolean", "json"]


class FieldSaid(Piece):
    """A field as the model describes it."""

    name: Annotated[str, _short(120), Field(max_length=120)]
    type: FieldType
    description: Annotated[str, _short(200), Field(max_length=200)] = ""


class StorageSaid(Piece):
    """How samples should be stored, as the model says; the samples themselves decide what a column can be."""

    table_name: Annotated[str, _short(64), Field(min_length=1, max_length=64)]
    storage_type: Literal["sql", "jsonb", "document"]
    reasoning: Annotated[str, _short(600), Field(max_length=600)] = ""
    fields: Annotated[tuple[FieldSaid, ...], Field(max_length=64)] = ()
    indexes: Annotated[tuple[Annotated[str, _short(120), Field(max_length=120)], ...], Field(max_length=8)] = ()


class Column(Piece):
    """A column of the table; `field` is the name that it has in the samples."""

    name: str
    field: str
    type: FieldType
    description: str = ""


class DataSchema(ResultData):
    """How records can be stored: the statements were written by the program from what was checked, not by the model.

    `fields` are descriptions by name; `ddl` and `insert` are for SQLite, `insert` with a place for each column.
    """

    type = "data_schema"
    table_name: str
    storage_type: Literal["sql", "jsonb"]
    reasoning: str
    fields: dict[str, str]
    columns: tuple[Column, ...]
    indexes: tuple[str, ...]
    ddl: str
    insert: str
    samples: int
    records: int | None = None
    problems: tuple[str, ...] = ()
    generation: Generation | None = None


class Relationships(Piece):
    """How a cluster stands to others, by their names."""

    similar_to: Names = ()
    parent: Annotated[str, _short(80), Field(max_length=80)] = ""


class ClusterCard(Structured):
    """An index card for a group of pictures or texts. `folder_path` is a label: relative, of ordinary names."""

    type = "cluster_card"
    hierarchy: Annotated[tuple[Name, ...], Field(min_length=1, max_length=4)]
    folder_path: Annotated[str, _short(200), AfterValidator(folder_label), Field(max_length=200)]
    extended_tags: Names
    relationships: Relationships = Relationships()
    search_description: Annotated[str, _short(600), Field(max_length=600)] = ""


class Contributions(Structured):
    """What is new in a research paper."""

    type = "contributions"
    problem: Sentence
    contributions: Sentences
    method: Sentence
    limitations: Sentences


class Scene(Piece):
    """A scene of a video script; `seconds` is how long it lasts."""

    title: Name
    seconds: Annotated[int, Field(ge=0, le=3600)]
    visuals: Sentence
    narration: Annotated[str, _short(2000), Field(max_length=2000)]


class VideoScript(Structured):
    """A script for an educational video, scene by scene."""

    type = "video_script"
    title: Name
    audience: Name
    objectives: Sentences
    scenes: Annotated[tuple[Scene, ...], Field(min_length=1, max_length=20)]

    def texts(self) -> dict[str, str]:
        return {".narration.txt": "\n\n".join(scene.narration for scene in self.scenes) + "\n"}


class Question(Piece):
    """A question to discuss, and what a good answer would touch."""

    question: Sentence
    hint: Sentence


class Discussion(Structured):
    """Questions about a text, from the simple to the deep."""

    type = "discussion"
    questions: Annotated[tuple[Question, ...], Field(min_length=1, max_length=20)]
