"""What is said: a little grammar and a few fixed phrases for each language, lower case, words parted by spaces."""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

FRACTION_HELD_OUT = 12
_SLOT = re.compile(r"\{(\w+)(?::(\d)(?:-(\d))?)?\}")


@dataclass(frozen=True)
class Grammar:
    """Templates with {slots}, filled from `words`; {digit:2-5} stands for two to five digits."""

    templates: tuple[str, ...]
    words: dict[str, tuple[str, ...]]
    fixed: tuple[str, ...]

    @property
    def digits(self) -> tuple[str, ...]:
        """The names of 0 to 9."""
        return self.words["digit"]

    def sentence(self, rng: random.Random) -> str:
        """Any template with any words."""
        return _SLOT.sub(lambda slot: self._fill(slot, rng), rng.choice(self.templates))

    def _fill(self, slot: re.Match[str], rng: random.Random) -> str:
        name, least, most = slot[1], int(slot[2] or 1), int(slot[3] or slot[2] or 1)
        return " ".join(rng.choice(self.words[name]) for _ in range(rng.randint(least, most)))

    def repeated_digits(self, rng: random.Random) -> str:
        """Two to six digits, of which many come twice or more: what such models get wrong first."""
        digits = [rng.choice(self.digits)]
        for _ in range(rng.randint(1, 5)):
            digits.append(digits[-1] if rng.random() < 0.45 else rng.choice(self.digits))
        return " ".join(digits)

    def vocabulary(self) -> Iterator[str]:
        """Every word, some more than once."""
        yield from (word for words in self.words.values() for entry in words for word in entry.split())
        yield from (word for template in self.templates for word in _SLOT.sub("", template).split())
        yield from (word for phrase in self.fixed for word in phrase.split())


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


GRAMMARS = {
    "en": Grammar(
        templates=(
            "turn {switch} the {room} {device}",
            "turn {switch} the {device}",
            "turn the {device} {way} in the {room}",
            "runner {digit:3} {did}",
            "runner {digit:3} is in {rank} place",
            "runner {digit:3} passed checkpoint {digit}",
            "{digit:2-5}",
            "{move} the {room} {opening}",
            "what is the {asked} {when}",
            "call {name} {soon}",
            "send a message to {name}",
            "the {colour} {animal} is {where} the {thing}",
            "there is a {colour} {thing} near the {place}",
            "{begin} the {event} {now}",
            "remind me to buy {goods} {day}",
            "set the {room} temperature to {digit:2}",
            "play {which} {medium}",
            "go {direction} and stop near the {thing}",
            "{name} and {name} finished the race in {digit:2} minutes",
        ),
        words={
            "room": _words("kitchen bedroom bathroom garage hallway garden office"),
            "device": _words("light lamp heater fan radio television alarm camera"),
            "digit": _words("zero one two three four five six seven eight nine"),
            "colour": _words("red green blue yellow black white orange brown"),
            "animal": _words("cat dog bird fish horse"),
            "thing": _words("table chair car house tree boat bicycle"),
            "name": _words("anna peter maria john david sarah"),
            "switch": _words("on off"),
            "way": _words("up down"),
            "did": _words("finished started stopped passed"),
            "rank": _words("first second third last"),
            "move": _words("open close"),
            "opening": _words("door window gate curtain"),
            "asked": _words("time weather temperature"),
            "when": _words("today tomorrow now"),
            "soon": _words("today tomorrow now please"),
            "where": _words("on under near"),
            "place": _words("river street school station"),
            "begin": _words("start stop"),
            "event": _words("recording timer race video music"),
            "now": _words("now please"),
            "goods": _words("milk bread coffee water"),
            "day": _words("today tomorrow"),
            "which": _phrases("some | the next | the last"),
            "medium": _words("music song video"),
            "direction": _words("left right up down"),
        },
        fixed=_phrases(
            "good morning everyone | hello world | thank you very much | welcome to the race | good night"
            " | yes please | no thank you | how are you today"
        ),
    ),
    "de": Grammar(
        templates=(
            "schalte das licht {room} {switch}",
            "läufer {digit:3} ist im ziel",
            "{digit:2-4}",
            "{move} {opening} {now}",
            "der {colour} {animal} ist auf dem {thing}",
        ),
        words={
            "room": _phrases("in der küche | im bad | in der garage | im garten"),
            "switch": _words("an aus"),
            "digit": _words("null eins zwei drei vier fünf sechs sieben acht neun"),
            "move": _words("öffne schließe"),
            "opening": _phrases("die tür | das fenster"),
            "now": _words("jetzt bitte"),
            "colour": _words("schwarze weiße rote"),
            "animal": _words("hund vogel fisch"),
            "thing": _words("tisch auto boot"),
        },
        fixed=_phrases("guten morgen | vielen dank | wie ist das wetter heute | gute nacht"),
    ),
    "fr": Grammar(
        templates=(
            "{switch} la lumière {room}",
            "le coureur {digit:3} est arrivé",
            "{digit:2-4}",
            "{move} la {opening} {now}",
            "le {animal} {colour} est sur la {thing}",
        ),
        words={
            "switch": _words("allume éteins"),
            "room": _phrases("de la cuisine | du garage | du jardin"),
            "digit": _words("zéro un deux trois quatre cinq six sept huit neuf"),
            "move": _words("ouvre ferme"),
            "opening": _words("porte fenêtre"),
            "now": _words("maintenant merci"),
            "animal": _words("chat chien poisson"),
            "colour": _words("noir blanc rouge"),
            "thing": _words("table voiture chaise"),
        },
        fixed=_phrases("bonjour tout le monde | merci beaucoup | bonne nuit | quel temps fait il"),
    ),
}
LANGUAGES = tuple(GRAMMARS)


@functools.cache
def vocabulary(language: str) -> tuple[str, ...]:
    """Every word of a language, by the alphabet."""
    return tuple(sorted(set(GRAMMARS[language].vocabulary())))


def is_held_out(text: str) -> bool:
    """Whether training never hears this sentence: a fixed twelfth of them; words and parts of phrases always may."""
    phrases = (phrase for grammar in GRAMMARS.values() for phrase in grammar.fixed)
    if len(text.split()) < 2 or any(text in phrase for phrase in phrases):
        return False
    return sum(map(ord, text)) * 2_654_435_761 % 2**32 % FRACTION_HELD_OUT == 0
