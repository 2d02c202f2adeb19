"""What people type finds what they mean, and nothing that they type breaks the search."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from importlib import resources

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from host.search.words import any_expression, match_expression, plain
from host.sql.functions import joined, separated


@pytest.fixture(scope="module")
def index() -> Iterator[sqlite3.Connection]:
    """The full-text table of the journal, alone."""
    script = resources.files("host.sql").joinpath("0007_text_search.sql").read_text()
    connection = sqlite3.connect(":memory:")
    connection.execute(script[script.index("CREATE VIRTUAL") : script.index(");") + 2])
    yield connection
    connection.close()


def finds(index: sqlite3.Connection, query: str, text: str) -> bool:
    index.execute("DELETE FROM passages")
    index.execute("INSERT INTO passages (body) VALUES (?)", [separated(text)])
    return bool(index.execute("SELECT 1 FROM passages WHERE passages MATCH ?", [match_expression(query)]).fetchall())


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("cafe", "Das CAFÉ am See"),
        ("CAFÉ", "the cafe\u0301 was closed"),
        ("see café", "Das Café am See"),
        ("über", "ÜBER den Bergen"),
        ("дом", "Большой Дом"),
        ("don't", "I don't know"),
        ("state-of-the-art", "a state of the art device"),
        ('"red circle"', "a red circle on the left"),
        ("“red circle” left", "a red circle on the left"),
        ("cir*", "a red circle"),
        ('"red cir"*', "a red circle"),
        ("京大", "我在北京大学学习。"),
        ("北京 学习", "我在北京大学学习。"),
        ("カメラ", "新しいカメラを買った"),
        ("ガ", "カ\u3099"),
        ("ไทย", "ภาษาไทยง่าย"),
        ("हिन्दी", "मैं हिन्दी बोलता हूँ"),
        ("NOT", "do not touch"),
        ("body:red", "the body red as blood"),
        ("42", "gate 42"),
    ],
)
def test_a_text_finds_what_is_meant(index, query, text):
    assert finds(index, query, text)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("red boat", "a red circle"),
        ('"circle red"', "a red circle"),
        ("circ", "a red circle"),
        ('"cir*"', "a red circle"),
        ("京北", "我在北京大学学习。"),
        ("हिन", "मैं हिन्दी बोलता हूँ"),
        ("red OR boat", "a red circle"),
        ("red NOT circle", "a red square"),
    ],
)
def test_a_text_does_not_find_what_is_not_there(index, query, text):
    assert not finds(index, query, text)


@pytest.mark.parametrize("query", ["", "  ", "?!", '""', '"', "***", "\0", "-", "( )", "\u200b"])
def test_where_there_is_no_word_there_is_nothing_to_look_for(query):
    assert match_expression(query) is None


@settings(max_examples=500, deadline=None)
@given(query=st.text(st.characters(codec=None), max_size=40) | st.text("ab \"*():^+-\0'{}NEAR,", max_size=20))
@example('"a')
@example('a"b"c')
@example("a\0b")
@example("NEAR(a b, 2) AND")
@example("\ud800")
@example("col : ^a + b")
def test_no_text_is_a_syntax_error(index, query):
    expression = match_expression(query)
    if expression is not None:
        index.execute("SELECT 1 FROM passages WHERE passages MATCH ?", [expression]).fetchall()


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\u200b")))
def test_a_separated_text_is_the_same_for_people(text):
    assert separated(joined(separated(text))) == separated(text)


def test_a_model_is_given_the_words_alone():
    assert plain('a "red circle" left*') == "a red circle left"


def test_of_a_question_the_words_that_say_what_it_is_about_are_looked_for():
    assert any_expression("What did we say about the Budget, and the budget's lanterns?") == '"budget" OR "lanterns"'
    assert any_expression("Was sagte Ana über die Gärten?") == '"ana" OR "gärten"'
    assert any_expression("when was that?") is None
    assert any_expression('" OR * NEAR( -x') is not None
