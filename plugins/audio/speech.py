"""Where somebody speaks: a stream of sound is cut at silences into pieces that fit into memory, and each piece into
the windows that a model hears at a time. What is speech is told by Silero's network, which comes with faster-whisper.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from faster_whisper.vad import VadOptions, get_speech_timestamps

from plugins.audio.recording import RATE

WINDOW = 30 * RATE  # what Whisper hears at a time
LONGEST_SPEECH = 28.0  # seconds without a pause; longer speech is cut where it is least bad
LONGEST_PAUSE = 5 * RATE  # a longer one parts two windows: nothing is to be heard in it
SHORTEST_PAUSE = 500  # milliseconds
MARGIN = 400  # milliseconds around speech, which begins and ends softly
SOFT_END = RATE // 2  # the margin, and what is too short to be more than the end of what was said

Stretch = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """Sound from sample `start` of the recording on, the stretches of it in which somebody speaks, and the windows.

    A window is one stretch or several with the pauses between them.
    """

    start: int
    samples: np.ndarray
    speech: tuple[Stretch, ...]
    windows: tuple[Stretch, ...]
    last: bool = False

    @property
    def end(self) -> int:
        """The sample of the recording that follows."""
        return self.start + len(self.samples)

    def begins(self, start: float, end: float) -> float:
        """When what is heard from `start` to `end`, in seconds of the piece, begins: not in a pause before it."""
        at = start * RATE
        speech = next((max(at, first) / RATE for first, last in self.speech if last - SOFT_END > at), start)
        return speech if speech < end else start


def pieces(
    blocks: Iterable[np.ndarray], start: int, size: int, threshold: float, together: int = WINDOW
) -> Iterator[Piece]:
    """Cut what comes, beginning with sample `start` of the recording, into pieces of up to `size` samples.

    A piece ends in silence if there is any in its last half minute. `size` is greater than `WINDOW`. Stretches of
    speech make one window as long as that has at most `together` samples.
    """
    waiting = np.zeros(0, np.float32)
    for block in blocks:
        waiting = np.concatenate([waiting, block])
        while len(waiting) >= size:
            stretches = speech(waiting[:size], threshold)
            cut = _last_silence(stretches, size)
            yield _piece(start, waiting[:cut], stretches, together)
            start, waiting = start + cut, waiting[cut:]
    if len(waiting):
        yield _piece(start, waiting, speech(waiting, threshold), together, last=True)


def skipped(blocks: Iterable[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """The blocks without their first `count` samples."""
    for block in blocks:
        if count < len(block):
            yield block[count:]
        count = max(0, count - len(block))


def speech(samples: np.ndarray, threshold: float) -> list[Stretch]:
    """Stretches of speech, with a margin; none of them overlap."""
    options = VadOptions(
        threshold=threshold,
        max_speech_duration_s=LONGEST_SPEECH,
        min_silence_duration_ms=SHORTEST_PAUSE,
        speech_pad_ms=MARGIN,
    )
    return [(found["start"], found["end"]) for found in get_speech_timestamps(samples, options)]


def _last_silence(stretches: Sequence[Stretch], size: int) -> int:
    """Where a full piece ends: before speech that goes on at its end."""
    goes_on = stretches and stretches[-1][1] >= size and stretches[-1][0] > 0
    return stretches[-1][0] if goes_on else size


def _piece(
    start: int, samples: np.ndarray, stretches: Sequence[Stretch], together: int, *, last: bool = False
) -> Piece:
    inside = tuple(stretch for stretch in stretches if stretch[0] < len(samples))
    return Piece(start, samples, inside, _windows(inside, together), last)


def _windows(stretches: Sequence[Stretch], together: int) -> tuple[Stretch, ...]:
    """Neighbouring stretches together, as long as they are short enough."""
    windows: list[Stretch] = []
    for start, end in stretches:
        if windows and end - windows[-1][0] <= together and start - windows[-1][1] <= LONGEST_PAUSE:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return tuple(windows)
