"""A subset of SSML 1.1 (https://www.w3.org/TR/speech-synthesis11/), read as a stream.

Understood are speak, p, s, break, prosody (rate, pitch, volume), emphasis, voice, lang, sub, say-as (characters) and
w3c's names for their values; of other elements the text is said. A document type, and with it every entity of one's
own, is refused, and so is what is nested deeper than a person would.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from xml.parsers import expat

from hooks import BadInput
from plugins.tts.parts import Part, Pause, Style, Words

DEEPEST = 50
LONGEST_PAUSE = 10.0
CHUNK = 64 * 1024
BREAKS = {"none": 0.0, "x-weak": 0.1, "weak": 0.25, "medium": 0.5, "strong": 0.8, "x-strong": 1.2}
RATES = {"x-slow": 0.5, "slow": 0.75, "medium": 1.0, "default": 1.0, "fast": 1.25, "x-fast": 1.6}
PITCHES = {"x-low": -6.0, "low": -3.0, "medium": 0.0, "default": 0.0, "high": 3.0, "x-high": 6.0}
VOLUMES = {"silent": -60.0, "x-soft": -12.0, "soft": -6.0, "medium": 0.0, "default": 0.0, "loud": 4.0, "x-loud": 6.0}
EMPHASES = {"strong": (0.85, 4.0), "moderate": (0.93, 2.0), "reduced": (1.1, -3.0), "none": (1.0, 0.0)}
_BEGINNING = re.compile(r"\s*(?:<\?xml[^>]{0,200}\?>\s*)?(?:<!--|<!DOCTYPE|<speak[\s>/])", re.IGNORECASE)


def is_ssml(text: str) -> bool:
    """Whether a text begins as SSML does."""
    return _BEGINNING.match(text.removeprefix("\ufeff")) is not None and "<speak" in text


def parts(text: str, style: Style) -> Iterator[Part]:
    """What is to be said, as far as it is read. Raises BadInput, also when some of it was said."""
    document = _Document(style)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = document.start
    parser.EndElementHandler = document.end
    parser.CharacterDataHandler = document.say
    parser.StartDoctypeDeclHandler = _refuse
    try:
        for start in range(0, len(text), CHUNK):
            parser.Parse(text[start : start + CHUNK], False)
            yield from document.taken()
        parser.Parse("", True)
        yield from document.taken()
    except expat.ExpatError as error:
        raise BadInput(
            f"It is not well-formed SSML: line {error.lineno}, {expat.ErrorString(error.code)}.",
            "Put that right, or leave the <speak> out to have it read as plain text.",
        ) from error


def _refuse(*_: object) -> None:
    raise BadInput("It has a document type, which SSML needs none of.", "Leave the line with <!DOCTYPE out.")


@dataclass(frozen=True, slots=True)
class _Level:
    style: Style
    spelled: bool = False
    silent: bool = False


class _Document:
    """What the parser tells, made into parts."""

    def __init__(self, style: Style) -> None:
        self._levels = [_Level(style)]
        self._parts: list[Part] = []
        self._text: list[str] = []

    def taken(self) -> list[Part]:
        """The parts that are complete."""
        made, self._parts = self._parts, []
        return made

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._levels) > DEEPEST:
            raise BadInput(f"It is nested deeper than {DEEPEST} elements.", "Write it flatter.")
        self._close()
        level = self._levels[-1]
        element = name.rpartition(":")[2].lower()
        if element == "break":
            self._parts.append(Pause(_break(attributes)))
        elif element == "sub" and "alias" in attributes:
            self._parts.append(Words(attributes["alias"], level.style))
            level = replace(level, silent=True)
        elif element in ("metadata", "meta", "lexicon", "desc", "style", "script"):
            level = replace(level, silent=True)
        elif element == "say-as":
            level = replace(level, spelled=attributes.get("interpret-as") in ("characters", "spell-out", "digits"))
        self._levels.append(replace(level, style=_styled(level.style, element, attributes)))

    def end(self, name: str) -> None:
        self._close()
        self._levels.pop()
        if name.lower() == "p":
            self._parts.append(Pause(BREAKS["medium"]))

    def say(self, text: str) -> None:
        if not self._levels[-1].silent:
            self._text.append(text)

    def _close(self) -> None:
        text = "".join(self._text)
        self._text.clear()
        if text.strip():
            self._parts.append(Words(text, self._levels[-1].style, self._levels[-1].spelled))


def _styled(style: Style, element: str, attributes: dict[str, str]) -> Style:
    language = attributes.get("xml:lang", "").lower()
    if language and language != style.language:
        style = replace(style, language=language, voice="")
    if element == "voice":
        style = replace(style, voice=attributes.get("name", style.voice))
    elif element == "emphasis":
        speed, volume = EMPHASES.get(attributes.get("level", "moderate"), (1.0, 0.0))
        style = replace(style, speed=style.speed * speed, volume=style.volume + volume)
    elif element == "prosody":
        style = replace(
            style,
            speed=min(4.0, max(0.25, style.speed * _rate(attributes.get("rate", "")))),
            pitch=min(12.0, max(-12.0, style.pitch + _pitch(attributes.get("pitch", "")))),
            volume=min(6.0, max(-60.0, style.volume + _volume(attributes.get("volume", "")))),
        )
    return style


def _break(attributes: dict[str, str]) -> float:
    found = re.fullmatch(r"\+?(\d{1,6}(?:\.\d{1,6})?)(m?s)", attributes.get("time", "").strip())
    if found:
        return min(LONGEST_PAUSE, float(found[1]) / (1000 if found[2] == "ms" else 1))
    return BREAKS.get(attributes.get("strength", "medium"), BREAKS["medium"])


def _rate(text: str) -> float:
    found = re.fullmatch(r"([+-]?\d{1,4}(?:\.\d{1,4})?)(%?)", text.strip())
    if not found:
        return RATES.get(text, 1.0)
    value = float(found[1]) / (100 if found[2] else 1)
    return 1 + value if found[2] and found[1][0] in "+-" else max(value, 0.1)


def _pitch(text: str) -> float:
    found = re.fullmatch(r"([+-]?\d{1,3}(?:\.\d{1,4})?)(st|%)", text.strip())
    if not found:
        return PITCHES.get(text, 0.0)
    return float(found[1]) if found[2] == "st" else float(found[1]) * 0.12


def _volume(text: str) -> float:
    found = re.fullmatch(r"([+-]?\d{1,3}(?:\.\d{1,4})?)dB", text.strip(), re.IGNORECASE)
    return float(found[1]) if found else VOLUMES.get(text, 0.0)
