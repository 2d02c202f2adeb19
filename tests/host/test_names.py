"""File names as text: any name becomes valid Unicode and comes back byte for byte."""

from __future__ import annotations

import json
import os

from hypothesis import example, given
from hypothesis import strategies as st

from host.names import from_text, is_text, to_text

NAMES = st.binary(min_size=1, max_size=60).filter(lambda raw: b"\0" not in raw)


@given(NAMES)
@example(b"plain.txt")
@example(b"\xff\xfe.jpg")
@example(b"back\\slash")
@example(b"looks\\xfflike an escape")
@example(b"\\x5c")
@example(b"\\x5cxff \xff")
@example(b"\xed\xa0\x80 an encoded surrogate")
@example("Grüße 😀".encode())
def test_every_name_comes_back_byte_for_byte(raw):
    name = os.fsdecode(raw)
    assert os.fsencode(from_text(to_text(name))) == raw


@given(NAMES)
def test_the_text_is_valid_unicode_that_json_and_sqlite_take(raw):
    text = to_text(os.fsdecode(raw))
    assert text.encode().decode() == text
    assert json.loads(json.dumps(text)) == text


@given(NAMES, NAMES)
def test_two_names_never_share_a_text(one, other):
    assert (to_text(os.fsdecode(one)) == to_text(os.fsdecode(other))) == (one == other)


@given(NAMES.filter(lambda raw: b"/" not in raw))
def test_no_name_gets_a_separator(raw):
    assert "/" not in to_text(os.fsdecode(raw))


@given(st.text(st.characters(exclude_characters="\0\\", exclude_categories=("Cs",)), min_size=1))
def test_a_valid_name_without_a_backslash_stays_as_it_is(name):
    assert to_text(name) == name
    assert is_text(name)


def test_a_name_that_is_not_unicode_is_not_text():
    assert not is_text(os.fsdecode(b"\xff.png"))
    assert to_text(os.fsdecode(b"\xff.png")) == r"\xff.png"
