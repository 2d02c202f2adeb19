"""SSML is understood as far as it is of use, and nothing in it reaches further than the text."""

from __future__ import annotations

import pytest

from hooks import BadInput
from plugins.tts import ssml
from plugins.tts.parts import Pause, Style, Words

USUAL = Style(voice="en-us", language="en-us")


def parts(body: str) -> list[Words | Pause]:
    return list(ssml.parts(f"<speak>{body}</speak>", USUAL))


def test_only_what_begins_as_ssml_is_ssml():
    assert ssml.is_ssml("<speak>Hi</speak>")
    assert ssml.is_ssml(' \n<?xml version="1.0"?>\n<speak version="1.1">Hi</speak>')
    assert ssml.is_ssml("<!DOCTYPE a><speak>Hi</speak>")
    assert not ssml.is_ssml("Say <speak> twice.")
    assert not ssml.is_ssml("<p>Hi</p>")


def test_breaks_are_pauses_and_none_is_endless():
    assert parts('a<break time="250ms"/>b<break strength="strong"/><break time="99999s"/>') == [
        Words("a", USUAL), Pause(0.25), Words("b", USUAL), Pause(0.8), Pause(10.0),
    ]  # fmt: skip


def test_prosody_changes_speed_pitch_and_volume_and_ends_with_its_element():
    slow, outer = parts('<prosody rate="50%" pitch="+2st" volume="-6dB">slow</prosody>usual')
    assert slow == Words("slow", Style("en-us", "en-us", speed=0.5, pitch=2.0, volume=-6.0))
    assert outer == Words("usual", USUAL)
    [extreme] = parts('<prosody rate="900%"><prosody rate="900%" pitch="+900st">x</prosody></prosody>')
    assert (extreme.style.speed, extreme.style.pitch) == (4.0, 12.0)


def test_another_language_has_another_voice():
    [words] = parts('<lang xml:lang="de">Guten Tag</lang>')
    assert (words.style.language, words.style.voice) == ("de", "")
    [words] = parts('<voice name="fr+f2">Salut</voice>')
    assert words.style.voice == "fr+f2"


def test_what_stands_for_something_else_is_said_instead():
    assert parts('<sub alias="World Wide Web Consortium">W3C</sub>') == [Words("World Wide Web Consortium", USUAL)]
    assert parts('<say-as interpret-as="characters">abc</say-as>') == [Words("abc", USUAL, spelled=True)]
    assert parts("<metadata>not this</metadata><unknown>but this &amp; that</unknown>") == [
        Words("but this & that", USUAL)
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<!DOCTYPE speak [<!ENTITY a "aaaa">]><speak>&a;</speak>', "document type"),
        ('<!DOCTYPE speak SYSTEM "file:///etc/passwd"><speak/>', "document type"),
        ("<speak>" + "<p>" * 10_000, "nested deeper"),
        ("<speak>cut <prosody", "not well-formed SSML: line 1"),
        ("<speak>&unknown;</speak>", "not well-formed"),
    ],
)
def test_what_is_hostile_or_broken_is_refused_with_the_reason(text, said):
    with pytest.raises(BadInput, match=said):
        list(ssml.parts(text, USUAL))


def test_what_stands_before_a_mistake_was_read_by_then():
    found = []
    with pytest.raises(BadInput, match="line 2"):
        found.extend(ssml.parts("<speak><p>" + "x" * ssml.CHUNK + "</p>\n<p></speak>", USUAL))
    assert found == []
