"""What a model wrote becomes data only where it holds what was asked for."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from plugins.generation.answers import code_in, json_in, validated
from plugins.generation.parts import parts_of
from plugins.generation.request import AnswerInvalid
from plugins.generation.sanitise import sanitiser
from plugins.generation.schema import for_grammar, schema_of
from plugins.llm.results import KeyPoints, StorageSaid


class Found(BaseModel):
    name: str
    count: int = Field(ge=0, le=5)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "a", "count": 1}',
        'Sure!\n```json\n{"name": "a", "count": 1}\n```\nAnything else?',
        '```\n{"name": "a", "count": 1}',
        'The answer is {"name": "a", "count": 1}, I think.',
        '{"name": "a", "count": 1} {"name": "b"}',
    ],
)
def test_json_is_found_in_fences_and_prose(text):
    assert validated(text, Found) == Found(name="a", count=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("I would rather not.", "answered no JSON"),
        ('{"name": "a", "count": ', "answered no JSON"),
        ('{"name": "a", "count": 9}', "count"),
        ('{"name": NaN, "count": 1}', "answered no JSON"),
        ("[" * 100_000, "answered no JSON"),
        ("[" * 500 + "]" * 500, "answered no JSON"),
        ("", "answered no JSON"),
    ],
)
def test_anything_else_is_refused_in_words(text, said):
    with pytest.raises(AnswerInvalid, match=said):
        validated(text, Found)


def test_line_breaks_within_strings_are_taken():
    assert json_in('{"name": "a\nb"}') == {"name": "a\nb"}


def test_code_is_what_stands_in_the_fences():
    assert code_in("Here:\n```python\nx = 1\n```\nand\n```\ny = 2\n```") == "x = 1\n\ny = 2"
    assert code_in("x = 1\n") == "x = 1"


def test_a_schema_asks_for_every_field_and_none_besides():
    schema = schema_of(KeyPoints)
    assert list(schema["properties"]) == schema["required"] == ["key_points", "action_items"]
    item = schema["properties"]["action_items"]["items"]
    assert (item["required"], item["additionalProperties"]) == (["task", "owner", "due"], False)
    assert "$ref" not in str(schema)


def test_a_schema_may_be_of_some_fields():
    schema = schema_of(StorageSaid, ("table_name", "fields.name", "fields.type"))
    assert schema["required"] == ["table_name", "fields"]
    assert schema["properties"]["fields"]["items"]["required"] == ["name", "type"]


def test_a_grammar_has_no_limit_that_it_cannot_carry():
    schema = schema_of(StorageSaid)
    assert schema["properties"]["reasoning"]["maxLength"] == 600
    assert "maxLength" not in for_grammar(schema)["properties"]["reasoning"]
    assert for_grammar({"type": "string", "maxLength": 8})["maxLength"] == 8


def test_a_choice_is_kept():
    class Chosen(BaseModel):
        colour: Literal["red", "green"]

    assert schema_of(Chosen)["properties"]["colour"]["enum"] == ["red", "green"]


@given(st.text(alphabet="ab .\n", max_size=400), st.integers(3, 40))
def test_parts_make_up_the_text_and_are_short_enough(text, limit):
    def count(part: str) -> int:
        return len(part.split()) + part.count("\n")

    parts = list(parts_of(text, limit, count))
    assert "".join(parts) == text
    assert all(count(part) <= limit for part in parts)


def test_parts_end_where_sentences_do():
    text = "One two three four. " * 50
    parts = list(parts_of(text, 30, lambda part: len(part.split())))
    assert len(parts) > 5
    assert all(part.endswith(". ") for part in parts)


@given(st.lists(st.sampled_from(["<|im_end|>", "<|im_", "end|>", "<s>", "a", "<__media__>", "\0"]), max_size=12))
def test_no_control_mark_is_left_in_a_text(pieces):
    cleaned = sanitiser(["<|eot_id|>"])("".join(pieces))
    assert not any(mark in cleaned for mark in ("<|im_end|>", "<s>", "<__media__>", "\0", "<|eot_id|>"))
