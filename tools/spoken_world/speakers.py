"""Who speaks: espeak-ng's variants, some of which training never hears."""

from __future__ import annotations

import random

from tools.spoken_world.espeak import Voice

ACCENTS = {"en": ("en-us", "en-us", "en", "en-gb-x-rp"), "de": ("de",), "fr": ("fr", "fr-be")}
TRAINED_VOICES = (
    "", "", "m1", "m2", "m3", "m4", "m7", "f1", "f2", "f3", "f5", "Andy", "Alex", "Annie", "Gene", "Lee", "Mario",
    "Michael", "Alicia", "linda", "steph", "max", "klatt2", "klatt4", "adam", "ed", "john", "belinda", "paul",
)  # fmt: skip
HELD_OUT_VOICES = ("m5", "m6", "f4", "Denis", "Andrea", "Mike", "steph2", "klatt", "david", "robert")


def random_voice(rng: random.Random, language: str, *, trained: bool) -> Voice:
    """A voice of a language: one that training hears, with all its speeds, or one that it never does."""
    if not trained:
        speed, pitch, variant = rng.randint(115, 220), rng.randint(20, 80), rng.choice(HELD_OUT_VOICES)
    else:
        speed = rng.randint(95, 240) if rng.random() < 0.3 else rng.randint(120, 215)
        pitch = rng.randint(5, 95) if rng.random() < 0.3 else rng.randint(25, 75)
        variant = rng.choice(TRAINED_VOICES)
    accent = rng.choice(ACCENTS[language])
    return Voice(f"{accent}+{variant}" if variant else accent, speed, pitch, rng.randint(20, 75))
