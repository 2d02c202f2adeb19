"""From a recording to its transcript, piece by piece. Imports CTranslate2 and FFmpeg: for workers only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from hooks import Audio, BadInput, Context, Device, Transcript
from plugins.audio import whisper_model
from plugins.audio.notes import Heard, Notes
from plugins.audio.recording import RATE, opened
from plugins.audio.speech import Piece, pieces, skipped
from plugins.audio.whisper_model import Language, Options, Whisper

if TYPE_CHECKING:
    from plugins.audio.whisper import WhisperSettings


class Hearing:
    """A loaded Whisper and how it is to listen."""

    def __init__(self, whisper: Whisper, settings: WhisperSettings) -> None:
        self._whisper = whisper
        self._settings = settings
        self._together = settings.entry.together if settings.together is None else settings.together

    def transcript(self, event: Audio, context: Context) -> Transcript:
        """What is said in a recording; goes on where earlier work on it ended. BadInput says why it cannot be heard."""
        notes = Notes(context.scratch, event.sha256, self._whisper.fingerprint, self._settings.model_dump_json())
        heard = notes.read()
        with opened(event) as recording:
            self._refuse_if_long(recording.seconds)
            start = heard[-1].end if heard else 0
            progress = _Progress(start / RATE, recording.seconds, lambda *said: context.progress(event, *said))
            rest = skipped(recording.blocks(), start)
            size = round(RATE * self._settings.piece_seconds)
            together = round(RATE * self._together)
            for piece in pieces(rest, start, size, self._settings.speech_threshold, together):
                self._refuse_if_long(piece.end / RATE)
                heard.append(self._hear(piece, heard, progress))
                if not piece.last:
                    notes.add(heard[-1])
        return self._transcript(heard)

    def _transcript(self, heard: list[Heard]) -> Transcript:
        segments = [segment for piece in heard for segment in piece.segments]
        language = Language("en", 1.0) if self._settings.translate else _language_of(heard)
        return Transcript.of(
            segments,
            language=language.code if segments else "",
            language_probability=language.probability if segments else 0.0,
            duration=round(heard[-1].end / RATE, 3) if heard else 0.0,
        )

    def _hear(self, piece: Piece, heard: list[Heard], progress: _Progress) -> Heard:
        language = Language(self._settings.language, 1.0) if self._settings.language else _language_of(heard)
        offset = piece.start / RATE
        language, segments = self._whisper.hear(piece, language, lambda seconds: progress.at(offset + seconds))
        progress.at(piece.end / RATE)
        return Heard(
            end=piece.end,
            language=language.code,
            language_probability=language.probability,
            segments=segments,
        )

    def _refuse_if_long(self, seconds: float) -> None:
        if seconds > 3600 * self._settings.max_hours:
            raise BadInput(
                f"The recording is longer than {self._settings.max_hours:g} hours.",
                "Cut it, or raise max_hours in [plugins.whisper] if such recordings are expected.",
            )


def _language_of(heard: list[Heard]) -> Language:
    return Language(heard[-1].language, heard[-1].language_probability) if heard else Language()


class _Progress:
    """Tells how far the work is and how long the rest will take at the pace so far."""

    def __init__(self, start: float, total: float, tell: Callable[[float, str], None]) -> None:
        self._start, self._total, self._tell = start, total, tell
        self._began = time.monotonic()

    def at(self, seconds: float) -> None:
        total = max(self._total, seconds, 0.001)
        left = (total - seconds) * (time.monotonic() - self._began) / max(seconds - self._start, 0.001)
        self._tell(seconds / total, f"{clock(seconds)} of {clock(total)}, about {clock(left)} left")


def clock(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def load(settings: WhisperSettings, device: Device) -> Hearing:
    """The model that the settings mean, on a device; ModelUnavailable says what is missing."""
    entry = settings.entry
    options = Options(
        beam=settings.beam or entry.beam,
        batch=settings.batch or entry.batch,
        temperatures=entry.temperatures if settings.temperatures is None else settings.temperatures,
        translate=settings.translate,
        words=settings.words,
        context=settings.context,
        prompt=settings.prompt,
        low_confidence=settings.low_confidence,
    )
    whisper = whisper_model.load(entry, device, settings.compute_type, settings.threads or device.threads, options)
    return Hearing(whisper, settings)
