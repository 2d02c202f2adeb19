"""Results say the same on both sides of the wire."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hooks import Segment, Transcript, Word

FACTS = {"language": "en", "language_probability": 0.98, "duration": 4.0}
GREETING = Segment(
    start=0.5,
    end=1.5,
    text="hello world",
    words=(
        Word(start=0.5, end=0.9, text="hello", probability=0.9),
        Word(start=0.9, end=1.5, text="world", probability=0.8),
    ),
    average_log_probability=-0.2,
)
MUMBLING = Segment(start=2.0, end=3.0, text="hm", average_log_probability=-1.5, low_confidence=True)


def test_a_transcript_reads_as_it_was_written():
    transcript = Transcript.of([GREETING, MUMBLING], **FACTS)
    data, blob = transcript.split()
    assert blob is None
    assert Transcript.model_validate(data) == transcript


def test_the_text_of_a_transcript_is_a_line_for_each_segment():
    assert Transcript.of([GREETING, MUMBLING], **FACTS).text == "hello world\nhm"


def test_nothing_said_is_an_empty_transcript_of_some_duration():
    silent = Transcript.of([], language="", language_probability=0.0, duration=4.0)
    assert (silent.text, silent.segments, silent.duration) == ("", (), 4.0)


def test_a_transcript_has_no_further_fields():
    with pytest.raises(ValidationError, match="speaker"):
        Transcript.of([GREETING], **FACTS, speaker="somebody")
