"""From a text to its recording, sentence by sentence: the same for every family of voices.

    text → parts (plain, or SSML) → paragraphs → words as they are said → sentences → samples → WAV → one loudness

The WAV file grows as sentences are spoken, so that memory stays flat and the first of it can be heard at once.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hooks import BadInput, Context, Failure, Result, Speech, Text
from plugins.tts import ssml
from plugins.tts.encoding import MEDIA_TYPES, encoded
from plugins.tts.parts import Part, Pause, Style, Words
from plugins.tts.reading import cleaned, is_sayable, reader
from plugins.tts.sentences import language_of, paragraphs, sentences, stretches
from plugins.tts.settings import SpeakerSettings
from plugins.tts.sound import CLONED, Wav

KEPT = 24 * 3600.0  # seconds after which a file that nobody took is removed
PREFIX = "speech-"


class Engine(Protocol):
    """A loaded family of voices.

    `rate` in Hz; `longest` characters of one utterance; `sentence_pause` seconds that it does not make by itself.
    """

    rate: int
    longest: int
    sentence_pause: float

    def chosen(self, style: Style) -> Style:
        """The style with the voice and language that will be used. Raises BadInput, with those that there are."""

    def say(self, text: str, style: Style) -> Iterator[np.ndarray]:
        """Samples of one utterance: int16, or float from -1 to 1."""

    def about(self, style: Style) -> About:
        """Who speaks."""


@dataclass(frozen=True, slots=True)
class About:
    """Who speaks: the voice's name, whether it is made after a person's, and what could not be done."""

    voice: str
    cloned: bool = False
    problems: tuple[str, ...] = ()


class Wishes(BaseModel):
    """How one text is to be spoken: what `meta` of an envelope or a request may say."""

    model_config = ConfigDict(extra="ignore")

    voice: str = Field("", max_length=200)
    language: str = Field("", max_length=20, pattern="^[A-Za-z0-9_-]*$")
    speed: float = Field(1.0, ge=0.25, le=4)
    pitch: float = Field(0.0, ge=-12, le=12)
    emotion: str = Field("", max_length=100)
    format: Literal["wav", "mp3", "opus"] | None = None

    @classmethod
    def of(cls, event: Text) -> Wishes:
        """What was wished for a text. Raises BadInput."""
        given = event.metadata.get("meta")
        try:
            return cls.model_validate(given if isinstance(given, dict) else {})
        except ValidationError as error:
            first = error.errors()[0]
            said = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise BadInput(f"It cannot be spoken like that: {said}.", "Change it in `meta`.") from error

    def style(self, settings: SpeakerSettings) -> Style:
        """How it is said, with what the settings say of what was not wished."""
        said = self.model_dump(include={"voice", "language", "emotion"})
        usual = {name: value or getattr(settings, name, "") for name, value in said.items()}
        if self.language and not self.voice:
            usual["voice"] = ""  # the usual voice may be of another language
        return Style(**usual, speed=self.speed * settings.speed, pitch=self.pitch + settings.pitch)


class Speaker:
    """An engine and how it is to speak."""

    def __init__(self, engine: Engine, settings: SpeakerSettings, software: str) -> None:
        self._engine = engine
        self._settings = settings
        self._software = software
        self._swept = False

    def speak(self, events: list[Text], context: Context) -> Iterator[Result | Failure]:
        """A recording of each text, or why there is none."""
        if not self._swept:
            self._swept = True
            remove_old(context.scratch)
        for event in events:
            try:
                yield event.result(self._spoken(event, context))
            except BadInput as error:
                yield event.failure(str(error))

    def _spoken(self, event: Text, context: Context) -> Speech:
        wishes = Wishes.of(event)
        text = self._text_of(event)
        style = self._style(wishes, text)
        about = self._engine.about(style)
        work = _Work(event, context, max(1, len(text)))
        notes = {"INAM": event.name[:200], "IART": about.voice, "ISFT": self._software}
        if about.cloned:
            notes["ICMT"] = CLONED
        with Wav(_new_file(context.scratch), self._engine.rate, notes) as wav:
            self._write(text, style, wav, work)
            loudness = wav.finish(self._settings.loudness)
        if loudness is None:
            wav.path.unlink()
            raise BadInput("There is nothing in it that could be said.", "Send a text with words in it.")
        kind = wishes.format or self._settings.format
        file = wav.path if kind == "wav" else encoded(wav.path, kind, about.voice)
        return Speech(
            file=file,
            suffix=f".{kind}",
            media_type=MEDIA_TYPES[kind],
            sample_rate=self._engine.rate,
            duration=round(wav.seconds, 3),
            voice=about.voice,
            language=style.language,
            loudness=loudness,
            cloned=about.cloned,
            first_audio_ms=round(1000 * (work.first_audio or 0)),
            processing_time_ms=round(1000 * work.spent),
            problems=(*about.problems, *work.problems),
        )

    def _text_of(self, event: Text) -> str:
        most = self._settings.max_characters
        if event.size > 4 * most:
            raise _too_long(f"{event.size:,} bytes", most)
        encoding = str(event.metadata.get("encoding") or "utf-8")
        with event.open() as content:
            try:
                text = content.read().decode(encoding, "replace").removeprefix("\ufeff")
            except LookupError as error:
                raise BadInput(f"Its encoding {encoding!r:.50} is not known.", "Send it as UTF-8.") from error
        if len(text) > most:
            raise _too_long(f"{len(text):,} characters", most)
        return text.replace("\ufffd", " ")

    def _style(self, wishes: Wishes, text: str) -> Style:
        style = wishes.style(self._settings)
        if not style.language and not style.voice:
            style = replace(style, language=language_of(text, self._settings.languages))
        return self._engine.chosen(style)

    def _write(self, text: str, style: Style, wav: Wav, work: _Work) -> None:
        is_ssml = self._settings.ssml and ssml.is_ssml(text)
        parts: Iterator[Part] = ssml.parts(text, style) if is_ssml else _plain(text, style, self._settings)
        for part in parts:
            if isinstance(part, Pause):
                wav.silence(part.seconds)
            else:
                self._write_words(part, style, wav, work)

    def _write_words(self, words: Words, outer: Style, wav: Wav, work: _Work) -> None:
        style = words.style if words.style == outer else self._engine.chosen(words.style)
        gain = 10 ** (style.volume / 20)
        for stretch in stretches(words.text):
            for sentence in self._sentences(stretch, style, spelled=words.spelled):
                for samples in self._engine.say(sentence, style):
                    wav.write(samples if gain == 1 else (samples * gain).astype(samples.dtype))
                if self._engine.sentence_pause:
                    wav.silence(self._engine.sentence_pause)
                work.heard(wav)
            work.done(len(stretch), wav)

    def _sentences(self, stretch: str, style: Style, *, spelled: bool) -> Iterator[str]:
        if spelled:
            characters = [character for character in stretch if not character.isspace()]
            yield from sentences(reader(style.language).words(cleaned(", ".join(characters))), self._engine.longest)
            return
        for sentence in sentences(reader(style.language).words(cleaned(stretch)), self._engine.longest):
            if is_sayable(sentence):
                yield sentence


def _plain(text: str, style: Style, settings: SpeakerSettings) -> Iterator[Part]:
    for number, paragraph in enumerate(paragraphs(text)):
        if number:
            yield Pause(settings.paragraph_pause)
        yield Words(paragraph, style)


class _Work:
    """How far a text is: told to the host, and when the first of it could be heard."""

    def __init__(self, event: Text, context: Context, characters: int) -> None:
        self._event = event
        self._context = context
        self._characters = characters
        self._done = 0
        self._began = time.monotonic()
        self.first_audio: float | None = None
        self.problems: list[str] = []

    @property
    def spent(self) -> float:
        """Seconds since it was begun."""
        return time.monotonic() - self._began

    def heard(self, wav: Wav) -> None:
        """A sentence was written."""
        if self.first_audio is None and wav.samples:
            wav.flush()
            self.first_audio = self.spent
            self._context.progress(self._event, 0.001, f"the first sentence can be heard: {wav.path.name}")

    def done(self, characters: int, wav: Wav) -> None:
        """So many more characters of the text were spoken."""
        self._done += characters
        fraction = min(1.0, self._done / self._characters)
        self._context.progress(self._event, max(0.001, fraction), f"{wav.seconds:.0f} s of speech")


def _too_long(size: str, most: int) -> BadInput:
    return BadInput(
        f"It is too long to be spoken: {size}, where {most:,} characters are the limit.",
        "Cut it into several texts, or raise max_characters in the plugin's table.",
    )


def _new_file(folder: Path) -> Path:
    """A name of its own, as the same text may be spoken once more before the host has taken the first recording."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(".wav", PREFIX, folder)
    os.close(descriptor)
    return Path(name)


def remove_old(folder: Path) -> None:
    """Remove recordings that were left by a host that ended before it took them."""
    for path in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another one was faster
            if path.stat().st_mtime < time.time() - KEPT:
                path.unlink()


def known(found: Any, among: list[str], what: str) -> BadInput:
    """What is said of a voice or language that there is not."""
    some = ", ".join(among[:12]) + (f" and {len(among) - 12} more" if len(among) > 12 else "")
    return BadInput(f"There is no {what} {found!r:.60}.", f"There are: {some or 'none'}.")
