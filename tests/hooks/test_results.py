"""Results say the same on both sides of the wire."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hooks import Artifact, Segment, Transcript, Turn, Word
from hooks.results import ResultData, text_files

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


# --- the text files of a transcript ---


def texts(*segments: Segment) -> dict[str, str]:
    return Transcript.of(segments, **FACTS).texts()


def test_subtitles_are_written_as_players_read_them():
    assert texts(GREETING, MUMBLING) == {
        ".txt": "hello world\nhm\n",
        ".srt": "1\n00:00:00,500 --> 00:00:01,500\nhello world\n\n2\n00:00:02,000 --> 00:00:03,000\nhm\n",
        ".vtt": "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\nhello world\n\n00:00:02.000 --> 00:00:03.000\nhm\n",
    }


def test_hours_are_counted_and_thousandths_rounded():
    late = Segment(start=3 * 3600 + 62.0004, end=3 * 3600 + 119.9996, text="late")
    assert "03:01:02,000 --> 03:02:00,000" in texts(late)[".srt"]


def test_what_is_said_cannot_end_a_cue_or_begin_another():
    said = texts(Segment(start=0, end=1, text="one\n\n2\n00:00:05,000 --> 00:00:06,000\n<b>two & three."))
    assert said[".srt"] == "1\n00:00:00,000 --> 00:00:01,000\none 2 00:00:05,000 -> 00:00:06,000 <b>two & three.\n"
    assert said[".vtt"].endswith("one 2 00:00:05,000 -> 00:00:06,000 &lt;b>two &amp; three.\n")


def test_nothing_said_is_an_empty_file_of_subtitles():
    assert texts() == {".txt": "", ".srt": "", ".vtt": "WEBVTT\n"}


def test_the_text_files_of_a_result_are_told_from_its_type_and_data():
    data, _ = Transcript.of([GREETING], **FACTS).split()
    assert text_files("transcript", 1, data) == texts(GREETING)
    assert text_files("transcript", 2, data) == {}
    assert text_files("caption", 1, {"text": "a cat"}) == {}
    assert text_files("of somebody else", 1, {}) == {}


class InCommon(ResultData):
    """What several types share; none itself."""

    text: str

    def texts(self) -> dict[str, str]:
        return {".txt": f"{self.text}!"}


class Shout(InCommon):
    type = "shout"


def test_types_may_have_something_in_common_that_is_no_type():
    assert text_files("shout", 1, {"text": "hey"}) == {".txt": "hey!"}
    assert text_files("whisper", 1, {"text": "hey"}) == {}


def said(start: float, end: float, text: str = "hello") -> Segment:
    return Segment(start=start, end=end, text=text)


def test_a_segment_is_spoken_by_whoever_speaks_longest_in_it():
    transcript = Transcript.of(
        [said(0, 4), said(4, 6), said(10, 11)], language="en", language_probability=1, duration=11
    )
    turns = [("anna", 0, 1.5), ("bob", 1.4, 3), ("anna", 3, 4), ("bob", 5, 9)]
    told = transcript.spoken_by(Turn(speaker=name, start=start, end=end) for name, start, end in turns)
    assert [segment.speaker for segment in told.segments] == ["anna", "bob", ""]
    assert told.texts()[".txt"] == "anna: hello\nbob: hello\nhello\n"
    assert "\nanna: hello\n" in told.texts()[".vtt"]
    assert told.text == transcript.text


@pytest.mark.parametrize("suffix", [".srt", ".contact.jpg", ".timeline.json", ".a.b.wav"])
def test_a_file_for_people_is_named_by_what_arrived_and_its_suffix(suffix):
    assert Artifact(suffix=suffix, media_type="x/y", content=b"x").split() == (
        {"suffix": suffix, "media_type": "x/y"}, b"x",
    )  # fmt: skip


@pytest.mark.parametrize("suffix", ["", "srt", ".json", "/../x", ".a/b", ".A", ".", ".a.b.c.d", ".x\n"])
def test_a_file_for_people_cannot_be_named_as_the_sidecar_or_lead_elsewhere(suffix):
    with pytest.raises(ValueError, match="one to three extensions"):
        Artifact(suffix=suffix, media_type="x/y", content=b"x")
