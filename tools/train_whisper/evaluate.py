"""`python -m tools.train_whisper.evaluate`: how well the plugin hears, on recordings that no training ever heard."""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from hooks import Audio, Context, Device, Segment, Transcript
from plugins.audio import whisper
from plugins.audio.whisper import WhisperSettings
from tools.spoken_world import (
    GRAMMARS,
    RATE,
    Espeak,
    Said,
    Speech,
    Take,
    is_held_out,
    noise,
    random_voice,
    silence,
    write_wav,
)

LEAD, TAIL, LONG_LEAD, DECIBELS, DOZEN, CLOSE = 0.3, 0.5, 4.0, 10, 12, 0.3
SHARES = {"en": 6, "de": 2, "fr": 2}


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value, over so many recordings; `limit` is what it must keep to, None where there is no such."""

    name: str
    value: float
    cases: int
    limit: float | None = None
    at_least: bool = False

    @property
    def is_kept(self) -> bool:
        """Whether the limit is kept to."""
        return self.limit is None or (self.value >= self.limit if self.at_least else self.value <= self.limit)


class Listener:
    """The plugin as the host calls it, in this process."""

    def __init__(self, settings: WhisperSettings, folder: Path) -> None:
        device = Device(name="cpu", kind="cpu", memory_mb=4000, threads=1)
        self.model = whisper.load(device=device, settings=settings)
        self.folder = folder
        self.context = Context(device=device, scratch=folder, report=lambda *_: None)
        self.count = 0

    def hear(self, samples: np.ndarray) -> Transcript:
        """The transcript of float samples, by way of a file."""
        self.count += 1
        path = write_wav(self.folder / f"{self.count}.wav", samples)
        event = Audio(
            id=path.name, media_type="audio/x-wav", sha256=path.name, size=path.stat().st_size, path=path,
            name=path.name, source="evaluation", origin=path.name, created=datetime.now(UTC),
        )  # fmt: skip
        (found,) = whisper.on_audio([event], self.model, self.context)
        path.unlink()
        if not isinstance(found.data, Transcript):
            raise TypeError(f"{path.name} gave no transcript.")
        return found.data


class Speakers:
    """Draws held-out sentences, said by held-out voices at any speed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"whisper evaluation {seed}")
        self.noise = np.random.default_rng(seed)
        self.espeak = Espeak()

    def sentence(self, language: str | None = None) -> tuple[str, Speech]:
        """A language and a sentence of it."""
        language = language or self.rng.choices([*SHARES], [*SHARES.values()])[0]
        while True:
            text = GRAMMARS[language].sentence(self.rng)
            if is_held_out(text):
                return language, self.espeak.say(text, random_voice(self.rng, language, trained=False))

    def dozen(self) -> Take:
        """Twelve English sentences with pauses of .6 to 1.3 s, over faint noise."""
        parts: list[Speech | float] = []
        for _ in range(DOZEN):
            parts += [self.rng.uniform(0.6, 1.3), self.sentence("en")[1]]
        return Take.of([*parts, 1.0]).with_noise(40, self.noise)


def word_errors(truth: str, heard: str) -> int:
    """The fewest words to be put in, left out or changed (Levenshtein)."""
    wanted, row = truth.split(), list(range(len(heard.split()) + 1))
    for number, word in enumerate(wanted, 1):
        before, row[0] = row[0], number
        for place, other in enumerate(heard.split(), 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (word != other))
    return row[-1]


def word_error_rate(pairs: Sequence[tuple[str, str]]) -> float:
    """Errors of all pairs (truth, heard) over the words of all truths."""
    return sum(word_errors(*pair) for pair in pairs) / sum(len(truth.split()) for truth, _ in pairs)


def edges_close(said: Sequence[Said], segments: Sequence[Segment], edge: str) -> list[bool]:
    """For each segment that ends where or is a whole sentence: whether its start or end is within .3 s."""
    spans = [(s, [q for q in said if q.start < s.end and s.start < q.end]) for s in segments]
    return [
        abs(getattr(segment, edge) - getattr(inside[0 if edge == "start" else -1], edge)) <= CLOSE
        for segment, inside in spans
        if inside
    ]


def sounds(rng: np.random.Generator) -> Iterator[tuple[str, np.ndarray]]:
    """What has no words in it."""
    t = np.arange(5 * RATE) / RATE
    yield "silence of .1 s", silence(0.1)
    yield "silence of 5 s", silence(5)
    yield "silence of 60 s", silence(60)
    for level in (0.001, 0.01, 0.05, 0.2):
        yield f"white noise of {level}", level * noise(5, rng)
    yield "brown noise", _at(0.2, np.cumsum(noise(5, rng)) - np.linspace(0, 1, len(t)))
    for frequency in (100, 440, 509, 1000, 3000):
        yield f"tone of {frequency} Hz", 0.3 * np.sin(2 * np.pi * frequency * t)
    yield "mains hum", 0.2 * sum(np.sin(2 * np.pi * 50 * k * t) / k for k in (1, 2, 3, 5, 7))
    yield "chord", 0.1 * sum(np.sin(2 * np.pi * f * t) for f in (262, 330, 392))
    yield "melody", _melody(rng)
    yield "clicks", 0.5 * (np.arange(len(t)) % (RATE // 2) < 20)
    yield "sweep", 0.3 * np.sin(2 * np.pi * (100 + 300 * t) * t)


def _at(level: float, samples: np.ndarray) -> np.ndarray:
    return level * samples / np.abs(samples).max()


def _melody(rng: np.random.Generator) -> np.ndarray:
    t = np.arange(RATE // 4) / RATE
    notes = (np.sin(2 * np.pi * 220 * 2 ** (k / 12) * t) * np.exp(-4 * t) for k in rng.integers(0, 24, 20))
    return 0.3 * np.concatenate(list(notes))


def evaluate(listener: Listener, seed: int, share: float = 1.0) -> Iterator[Figure]:
    """All figures that the plugin must show; `share` of the recordings."""
    speakers = Speakers(seed)
    pairs: list[tuple[str, str]] = []
    starts: list[bool] = []
    ends: list[bool] = []
    languages: dict[str, list[tuple[str, str]]] = {name: [] for name in SHARES}
    right_language = 0
    for _ in range(round(200 * share)):
        language, speech = speakers.sentence()
        take = Take.of([LEAD, speech, TAIL])
        heard = listener.hear(take.samples)
        pairs.append((take.text, _flat(heard)))
        languages[language].append(pairs[-1])
        right_language += heard.language == language
        starts += edges_close(take.said, heard.segments, "start")
        ends += edges_close(take.said, heard.segments, "end")
    yield Figure("word error rate", word_error_rate(pairs), len(pairs), 0.03)
    for name, some in languages.items():
        yield Figure(f"word error rate, {name}", word_error_rate(some), len(some))
    yield Figure("language right", right_language / len(pairs), len(pairs))
    yield Figure("segment starts within .3 s", sum(starts) / len(starts), len(starts))
    yield Figure("segment ends within .3 s", sum(ends) / len(ends), len(ends), 0.9, at_least=True)
    pairs = _pairs(listener, (Take.of([LONG_LEAD, speakers.sentence()[1], TAIL]) for _ in range(round(100 * share))))
    yield Figure("word error rate after 4 s of silence", word_error_rate(pairs), len(pairs), 0.06)
    noisy = (Take.of([LEAD, speakers.sentence()[1], TAIL]) for _ in range(round(150 * share)))
    pairs = _pairs(listener, (take.with_noise(DECIBELS, speakers.noise) for take in noisy))
    yield Figure("word error rate with noise at 10 dB", word_error_rate(pairs), len(pairs), 0.10)
    yield from _dozens(listener, speakers, round(12 * share))
    words = {name: listener.hear(np.asarray(samples)).text for name, samples in sounds(speakers.noise)}
    for name, text in words.items():
        if text:
            print(f"heard in {name}: {text}", file=sys.stderr)
    yield Figure("sounds without words in which some are heard", sum(map(bool, words.values())), len(words), 0)


def _dozens(listener: Listener, speakers: Speakers, count: int) -> Iterator[Figure]:
    takes = [speakers.dozen() for _ in range(count)]
    heard = [listener.hear(take.samples) for take in takes]
    pairs = [(take.text, _flat(one)) for take, one in zip(takes, heard, strict=True)]
    yield Figure("word error rate, a dozen sentences", word_error_rate(pairs), count, 0.06)
    for edge in ("start", "end"):
        close = [c for take, one in zip(takes, heard, strict=True) for c in edges_close(take.said, one.segments, edge)]
        limit = 0.9 if edge == "end" else None
        name = f"segment {edge}s within .3 s, a dozen sentences"
        yield Figure(name, sum(close) / len(close), len(close), limit, at_least=True)


def _pairs(listener: Listener, takes: Iterator[Take]) -> list[tuple[str, str]]:
    return [(take.text, _flat(listener.hear(take.samples))) for take in takes]


def _flat(transcript: Transcript) -> str:
    return transcript.text.replace("\n", " ")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.train_whisper.evaluate", description=__doc__)
    parser.add_argument("--settings", type=json.loads, default={}, help="settings of the plugin, as JSON")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=float, default=1.0, help="of the recordings, for a quick look")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        listener = Listener(WhisperSettings(**options.settings), Path(folder))
        figures = []
        for figure in evaluate(listener, options.seed, options.share):
            figures.append(figure)
            if not options.json:
                limit = "" if figure.limit is None else f"{'>=' if figure.at_least else '<='} {figure.limit:g}"
                print(f"{figure.name:<48}{figure.value:>7.3f}  {limit:<8} of {figure.cases}", flush=True)
    if options.json:
        print(json.dumps([asdict(figure) for figure in figures], indent=2))
    return 0 if all(figure.is_kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
