"""What is to be said, in the order in which it is said: words in a style, and pauses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Style:
    """How words are said; what is empty is up to the plugin.

    `speed` 1 is the usual one; `pitch` in semitones; `volume` in decibels, beside the rest of the text.
    """

    voice: str = ""
    language: str = ""
    speed: float = 1.0
    pitch: float = 0.0
    volume: float = 0.0
    emotion: str = ""


@dataclass(frozen=True, slots=True)
class Words:
    """A stretch of text in one style; `spelled` is said letter by letter."""

    text: str
    style: Style
    spelled: bool = False


@dataclass(frozen=True, slots=True)
class Pause:
    """Silence, in seconds."""

    seconds: float


Part = Words | Pause
