"""A Whisper of faster-whisper in memory. Imports CTranslate2: for workers only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faster_whisper import BatchedInferencePipeline, WhisperModel

from hooks import Device, ModelUnavailable, OutOfMemory, Segment, Word
from plugins import hub
from plugins.audio.recording import RATE
from plugins.audio.speech import Piece
from plugins.audio.whisper_catalog import FILES, PATTERNS, WEIGHTS, Entry

SETTING = 'model = "FOLDER" in [plugins.whisper]'
SILENT = 0.6  # a window that is more likely without speech, and of which the words are doubtful, is taken as silent
DOUBTFUL = -1.0


@dataclass(frozen=True, slots=True)
class Options:
    """How to listen; see the settings of the plugin."""

    beam: int
    batch: int
    temperatures: tuple[float, ...]
    translate: bool
    words: bool
    context: bool
    prompt: str
    low_confidence: float


@dataclass(frozen=True, slots=True)
class Language:
    """A code and how probable it is; empty before anything was heard."""

    code: str = ""
    probability: float = 0.0


class Whisper:
    """A model that hears pieces of recordings; `fingerprint` names its weights."""

    def __init__(self, model: WhisperModel, options: Options, fingerprint: str) -> None:
        self.options = options
        self.fingerprint = fingerprint
        self._model = model
        self._batched = BatchedInferencePipeline(model)

    def hear(
        self, piece: Piece, language: Language, report: Callable[[float], None]
    ) -> tuple[Language, tuple[Segment, ...]]:
        """What is said in a piece, with times from the beginning of the recording, and in which language.

        `report` is told how many seconds of the piece are done.
        """
        if not piece.windows:
            return language, ()
        try:
            found, info = self._transcribe(piece, language.code or None)
            segments = tuple(self._segments(found, piece, report))
        except RuntimeError as error:
            if _is_out_of_memory(error):
                raise OutOfMemory(f"There is no room to hear with: {error}.") from error
            raise
        known = language if language.code else Language(info.language, round(float(info.language_probability), 4))
        return known, segments

    def _transcribe(self, piece: Piece, language: str | None) -> tuple[Iterator[Any], Any]:
        options = self.options
        common = {
            "language": language,
            "task": "translate" if options.translate else "transcribe",
            "beam_size": options.beam,
            "temperature": options.temperatures,
            "word_timestamps": options.words,
            "initial_prompt": options.prompt or None,
            "without_timestamps": False,
        }
        if options.batch > 1:
            windows = [{"start": start / RATE, "end": end / RATE} for start, end in piece.windows]
            return self._batched.transcribe(piece.samples, clip_timestamps=windows, batch_size=options.batch, **common)
        return self._model.transcribe(
            piece.samples,
            clip_timestamps=[edge / RATE for window in piece.windows for edge in window],
            condition_on_previous_text=options.context,
            log_prob_threshold=DOUBTFUL,
            no_speech_threshold=SILENT,
            **common,
        )

    def _segments(self, found: Iterator[Any], piece: Piece, report: Callable[[float], None]) -> Iterator[Segment]:
        offset, last = piece.start / RATE, piece.start / RATE
        for one in found:
            report(float(one.end))
            # Where a window is read on from a pause, faster-whisper has the model say a start of at most a second.
            start = max(last, offset + piece.begins(one.start, one.end))
            end = min(offset + one.end, piece.end / RATE)
            silent = one.no_speech_prob > SILENT and one.avg_logprob < DOUBTFUL
            if not one.text.strip() or silent or end <= start:
                continue
            last = end
            yield Segment(
                start=round(start, 3),
                end=round(end, 3),
                text=one.text.strip(),
                words=tuple(_word(word, offset, start) for word in one.words or ()),
                average_log_probability=round(one.avg_logprob, 4),
                no_speech_probability=round(one.no_speech_prob, 4),
                low_confidence=one.avg_logprob < self.options.low_confidence,
            )


def _word(word: Any, offset: float, earliest: float) -> Word:
    return Word(
        start=round(max(earliest, offset + word.start), 3),
        end=round(max(earliest, offset + word.end), 3),
        text=word.word.strip(),
        probability=round(float(word.probability), 4),
    )


def load(entry: Entry, device: Device, compute_type: str, threads: int, options: Options) -> Whisper:
    """Load a model on a device; ModelUnavailable says what is missing and what to put where."""
    folder = entry.local_folder or _fetched(entry)
    hub.check(folder)
    on_gpu = device.kind == "gpu"
    try:
        model = WhisperModel(
            str(folder),
            device="cuda" if on_gpu else "cpu",
            device_index=device.index,
            compute_type=compute_type or ("float16" if on_gpu else "int8"),
            cpu_threads=threads,
            local_files_only=True,
        )
    except (RuntimeError, ValueError) as error:
        if _is_out_of_memory(error):
            raise OutOfMemory(f"{entry.name} does not fit on {device.name}: {error}.") from error
        raise ModelUnavailable(
            f"{folder} cannot be loaded as a Whisper of CTranslate2: {str(error)[:300]}",
            "Its files are damaged, belong to another program, or are too new: replace them.",
        ) from error
    weights = (folder / WEIGHTS).stat()
    return Whisper(model, options, f"{entry.name} {weights.st_size}.{weights.st_mtime_ns}")


def _fetched(entry: Entry) -> Path:
    if not entry.repository:
        raise ModelUnavailable(
            f"{entry.place} holds no Whisper of CTranslate2: it lacks {', '.join(entry.missing)}.",
            "Put a model there that was converted for CTranslate2, or choose another one.",
        )
    return hub.fetched_folder(entry.repository, FILES, PATTERNS, SETTING)


def _is_out_of_memory(error: Exception) -> bool:
    """CTranslate2 has no class for it."""
    return "out of memory" in str(error).lower() or "bad_alloc" in str(error)
