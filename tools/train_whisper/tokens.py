"""What the model is to write for a window, in Whisper's tokens.

All sentences; with times, each between its own, as Whisper's own training had them. Where the window's end cuts one,
its start is written last, and faster-whisper reads on from there. After a lone sentence its end is written twice,
because faster-whisper keeps the start of a lone one only if a pair of times follows.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer

from tools.spoken_world import LANGUAGES, vocabulary
from tools.train_whisper.corpus import Words
from tools.train_whisper.model import (
    EOT,
    FIRST_TIMESTAMP,
    FRAMES,
    LANGUAGE_TOKENS,
    NO_SPEECH,
    NO_TIMESTAMPS,
    PREVIOUS,
    SOT,
    SPACE,
    TRANSCRIBE,
)  # fmt: skip

EDGE = 0.1  # seconds of a sentence that its start, and its end, are read from

Spoken = Sequence[tuple[float, float, Words]]


@dataclass(slots=True)
class Targets:
    """The tokens that are given, those to be written next to each, and from which place on that counts.

    `looks` says which stretch of the stored sound belongs to the token that is written at a place: (place, start, end).
    """

    given: list[int]
    wanted: list[int]
    first: int
    looks: list[tuple[int, float, float]]


class Tokens:
    """Whisper's vocabulary, of which `used` are those that occur; `words` numbers the words from 1 on."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._pieces: dict[str, list[int]] = {}
        every = sorted({word for language in LANGUAGES for word in vocabulary(language)})
        self.words = {word: number for number, word in enumerate(every, 1)}
        special = {SOT, EOT, TRANSCRIBE, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS, SPACE, *LANGUAGE_TOKENS.values()}
        self.used = sorted({token for word in every for token in self.pieces(word)} | special)

    def pieces(self, word: str) -> list[int]:
        """The tokens of a word, with the space before it."""
        if word not in self._pieces:
            self._pieces[word] = self._tokenizer.encode(f" {word}").ids
        return self._pieces[word]

    def said(self, words: Iterable[str], times: tuple[float, float] | None) -> list[int]:
        """A sentence, between its times where it has some."""
        text = [token for word in words for token in self.pieces(word)]
        return text if times is None else [_stamp(times[0]), *text, _stamp(times[1])]

    def without_times(
        self, language: str, before: list[int], spoken: Spoken, cut: float | None, rng: random.Random
    ) -> Targets:
        """All that is said; a sentence that the window's end cuts is left to the next one."""
        tokens, looks, first = self._begun(language, before)
        tokens.append(NO_TIMESTAMPS)
        for _, _, words in spoken:
            self._write(words, tokens, looks)
        return _finished(tokens, looks, first, is_silent=not spoken)

    def with_times(
        self, language: str, before: list[int], spoken: Spoken, cut: float | None, rng: random.Random
    ) -> Targets:
        """All that is said between its times, and where to read on."""
        tokens, looks, first = self._begun(language, before)
        at = len(tokens)
        for start, end, words in spoken:
            begin, finish = words[0][1], words[-1][2]
            looks.append((len(tokens) - 1, begin, begin + EDGE))
            tokens.append(_stamp(start))
            self._write(words, tokens, looks)
            looks.append((len(tokens) - 1, finish - EDGE, finish))
            tokens.append(_stamp(end))
        if not spoken:
            tokens.append(FIRST_TIMESTAMP)
        elif cut is not None or len(spoken) == 1:
            tokens.append(tokens[-1] if cut is None else _stamp(cut))
        targets = _finished(tokens, looks, first, is_silent=not spoken)
        if spoken:
            _mislead(targets, at, spoken[0][0], rng)
        return targets

    def _begun(self, language: str, before: list[int]) -> tuple[list[int], list[tuple[int, float, float]], int]:
        prompt = [PREVIOUS, *before] if before else []
        return [*prompt, SOT, LANGUAGE_TOKENS[language], TRANSCRIBE], [], len(prompt)

    def _write(self, words: Words, tokens: list[int], looks: list[tuple[int, float, float]]) -> None:
        for word, start, end in words:
            pieces = self.pieces(word)
            step = (end - start) / len(pieces)
            for number, token in enumerate(pieces):
                looks.append((len(tokens) - 1, start + step * number, start + step * (number + 1)))
                tokens.append(token)


def _finished(tokens: list[int], looks: list[tuple[int, float, float]], first: int, *, is_silent: bool) -> Targets:
    tokens.append(EOT)
    wanted = tokens[1:]
    if is_silent:
        wanted[first] = NO_SPEECH  # in the place of the language: that is where Whisper says so
    return Targets(tokens[:-1], wanted, first, looks)


def _mislead(targets: Targets, at: int, start: float, rng: random.Random) -> None:
    """Give another first time than the true one: faster-whisper allows none over 1.00."""
    kind = rng.random()
    if start > 1 and kind < 0.75:
        targets.given[at] = _stamp(1.0 if kind < 0.4 else 0.0 if kind < 0.6 else rng.uniform(0, 1))
    elif kind < 0.25:
        targets.given[at] = FIRST_TIMESTAMP


def _stamp(seconds: float) -> int:
    return FIRST_TIMESTAMP + max(0, min(FRAMES, round(seconds * 50)))
