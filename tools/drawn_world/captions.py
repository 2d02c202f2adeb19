"""Scenes in words: one canonical caption, and many ways in which people ask for the same picture."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

from tools.drawn_world.scene import BACKGROUNDS, Scene

NUMBERS = ("one", "two", "three", "four")
PLACE_PHRASES: Mapping[str, str] = MappingProxyType(
    {
        "table": "on a table",
        "grass": "on the grass",
        "road": "on a road",
        "water": "in the water",
        "snow": "in the snow",
        "beach": "on the beach",
        "sky": "in the sky",
    }
)
POSITION_PHRASES: Mapping[str, str] = MappingProxyType(
    {
        "left": "on the left",
        "right": "on the right",
        "top": "at the top",
        "bottom": "at the bottom",
        "center": "in the center",
    }
)
OTHER_PHRASES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "on a table": ("on the table",),
        "on the grass": ("on grass", "in the grass", "on a meadow"),
        "on a road": ("on the road", "on the street", "in the street"),
        "in the water": ("on the water", "in the sea", "on the sea"),
        "in the snow": ("on the snow", "in winter"),
        "on the beach": ("at the beach", "on the sand"),
        "in the sky": ("in the air", "in the clouds"),
        "on the left": ("at the left", "on the left side", "to the left"),
        "on the right": ("at the right", "on the right side", "to the right"),
        "at the top": ("on top",),
        "at the bottom": ("on the bottom",),
        "in the center": ("in the centre", "in the middle"),
    }
)
OTHER_WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gray": ("grey",),
        "cup": ("mug",),
        "bicycle": ("bike",),
        "boat": ("ship", "sailboat"),
        "runner": ("person", "jogger"),
        "cat": ("kitten",),
        "dog": ("puppy",),
        "ring": ("hoop",),
        "diamond": ("rhombus",),
    }
)
OPENINGS = (
    "a photo of ",
    "a picture of ",
    "an image of ",
    "a drawing of ",
    "there is ",
    "this is ",
    "find ",
    "show me ",
)
SAID: Mapping[str, float] = MappingProxyType(
    {"subject": 0.95, "colour": 0.65, "count": 0.85, "position": 0.6, "setting": 0.5}
)
"""How often a varied caption mentions each attribute."""

PLURALS: Mapping[str, str] = MappingProxyType({"fish": "fish", "cross": "crosses", "rhombus": "rhombuses"})


def caption(scene: Scene) -> str:
    """Everything about a scene in a fixed order: 'a red circle on the left on a white background'."""
    phrases = (_noun_phrase(scene.count, scene.colour, scene.subject), position_phrase(scene), setting_phrase(scene))
    return " ".join(phrase for phrase in phrases if phrase)


Claim = tuple[str, str | int | None]


@dataclass(frozen=True, slots=True)
class Description:
    """A text about a picture and what it claims; it may be true of other pictures too."""

    text: str
    claims: frozenset[Claim]

    def is_true_of(self, scene: Scene) -> bool:
        return self.claims <= facts(scene)


def facts(scene: Scene) -> frozenset[Claim]:
    """All that a description can claim of a scene."""
    return frozenset({*asdict(scene).items(), ("several", scene.count > 1)})


def full_description(scene: Scene) -> Description:
    return Description(caption(scene), frozenset(asdict(scene).items()))


def varied_caption(scene: Scene, rng: random.Random) -> str:
    """A caption as a person might type it: attributes left out, other words and openings; what it says is true."""
    return describe(scene, rng).text


def describe(scene: Scene, rng: random.Random) -> Description:
    """A varied caption with its claims."""
    return _keywords(scene, rng) if rng.random() < 0.12 else _sentence(scene, rng)


def _sentence(scene: Scene, rng: random.Random) -> Description:
    said = {name for name, chance in SAID.items() if rng.random() < chance}
    said |= {"count"} if scene.count == 1 else {"several"}
    subject = _reworded(scene.subject, rng) if "subject" in said else "thing"
    colour = _reworded(scene.colour, rng) if "colour" in said else ""
    noun = _noun_phrase(scene.count, colour, subject, counted="count" in said)
    position = _rephrased(position_phrase(scene), rng) if "position" in said else ""
    setting = _rephrased(setting_phrase(scene), rng) if "setting" in said else ""
    text = _opening(scene, rng) + " ".join(phrase for phrase in (noun, position, setting) if phrase)
    return Description(text + "." if rng.random() < 0.05 else text, _claims(scene, said))


def _keywords(scene: Scene, rng: random.Random) -> Description:
    """Bare words without an article, as in a search box."""
    noun, colour = _reworded(scene.subject, rng), _reworded(scene.colour, rng)
    nouns = noun if scene.count == 1 else plural(noun)
    number = () if nouns == noun else ("several",)
    place = scene.setting + (" background" if scene.is_shape else "")
    text, *said = rng.choice(
        (
            (f"{colour} {nouns}", "colour", "subject", *number),
            (f"{colour} {nouns}", "colour", "subject", *number),
            (nouns, "subject", *number),
            (f"{nouns} {place}", "subject", "setting", *number),
            (f"something {colour}", "colour"),
            (colour, "colour"),
            (place, "setting"),
        )
    )
    return Description(text, _claims(scene, set(said)))


def _claims(scene: Scene, said: set[str]) -> frozenset[Claim]:
    """'A circle' says nothing about a position: what was not drawn is not claimed."""
    return frozenset((name, value) for name, value in facts(scene) if name in said and value is not None)


def setting_phrase(scene: Scene) -> str:
    return background_phrase(scene.setting) if scene.setting in BACKGROUNDS else PLACE_PHRASES[scene.setting]


def background_phrase(background: str) -> str:
    return f"on a {background} background"


def position_phrase(scene: Scene) -> str:
    return POSITION_PHRASES[scene.position] if scene.position else ""


def counted_phrase(scene: Scene, count: int) -> str:
    """The scene's colour and subject with another number: 'three red circles'."""
    return _noun_phrase(count, scene.colour, scene.subject)


def with_article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def plural(noun: str) -> str:
    return PLURALS.get(noun, noun + "s")


def _noun_phrase(count: int, colour: str, subject: str, *, counted: bool = True) -> str:
    words = [colour] if colour else []
    if count == 1:
        return with_article(" ".join([*words, subject]))
    return " ".join([NUMBERS[count - 1]] * counted + words + [plural(subject)])


def _opening(scene: Scene, rng: random.Random) -> str:
    if rng.random() < 0.4:
        return ""
    opening = rng.choice(OPENINGS)
    if scene.count > 1:
        return {"there is ": "there are ", "this is ": "these are "}.get(opening, opening)
    return opening


def _reworded(word: str, rng: random.Random) -> str:
    return rng.choice(OTHER_WORDS[word]) if word in OTHER_WORDS and rng.random() < 0.2 else word


def _rephrased(phrase: str, rng: random.Random) -> str:
    if phrase in OTHER_PHRASES and rng.random() < 0.25:
        return rng.choice(OTHER_PHRASES[phrase])
    return phrase.replace("gray", "grey") if rng.random() < 0.2 else phrase
