"""The training corpus: thousands of utterances by espeak-ng, with the time at which each word begins."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tools.spoken_world import GRAMMARS, LANGUAGES, RATE, Espeak, Voice, is_held_out, random_voice, vocabulary

SHARES = {"en": 6, "de": 2, "fr": 2}
LONGEST = 7.5  # seconds
QUIETEST = 500  # of 32,768

Words = list[tuple[str, float, float]]


@dataclass(frozen=True, slots=True)
class Utterance:
    """What was said in which language and by whom; int16 samples, and the sample at which each word begins."""

    language: str
    words: tuple[str, ...]
    voice: str
    samples: np.ndarray
    starts: tuple[int, ...]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / RATE

    def cut(self, first: int, end: int) -> tuple[np.ndarray, Words]:
        """Words from the `first` up to the `end`: float samples, and (word, start, end) in seconds from their start."""
        edges = [0, *self.starts[1:], len(self.samples)]
        begin = edges[first]
        spans = zip(self.words[first:end], edges[first:end], edges[first + 1 : end + 1], strict=True)
        return (
            self.samples[begin : edges[end]].astype(np.float32),
            [(word, (start - begin) / RATE, (stop - begin) / RATE) for word, start, stop in spans],
        )


def speak_corpus(count: int, seed: int, report: Callable[[int], None]) -> list[Utterance]:
    """About so many utterances, by trained voices and without what is held out; the same for a seed."""
    rng, espeak = random.Random(f"whisper corpus {seed}"), Espeak()
    corpus: list[Utterance] = []
    for number in range(count):
        language = rng.choices(LANGUAGES, [SHARES[name] for name in LANGUAGES])[0]
        utterance = _spoken(espeak, language, _text(language, rng), random_voice(rng, language, trained=True))
        if 0.1 < utterance.seconds < LONGEST and np.abs(utterance.samples).max() >= QUIETEST:
            corpus.append(utterance)
        report(number + 1)
    return corpus


def _text(language: str, rng: random.Random) -> str:
    """A sentence, a fixed phrase, digits with repetitions, or any words; never a sentence that is held out."""
    grammar = GRAMMARS[language]
    while True:
        kind = rng.random()
        if kind < 0.56:
            text = grammar.sentence(rng)
        elif kind < 0.64:
            text = rng.choice(grammar.fixed)
        elif kind < 0.76:
            text = grammar.repeated_digits(rng)
        else:
            text = " ".join(rng.choice(vocabulary(language)) for _ in range(rng.randint(1, 6)))
        if not is_held_out(text):
            return text


def _spoken(espeak: Espeak, language: str, text: str, voice: Voice) -> Utterance:
    speech = espeak.say(text, voice)
    starts = tuple(min(round(start * RATE), len(speech.samples)) for start in speech.starts)
    return Utterance(language, tuple(text.split()), voice.name, speech.samples, starts)
