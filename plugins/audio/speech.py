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

Stretch = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Piece:
    """Sound from sample `start` of the recording on; `windows` are stretches of the piece in which somebody speaks."""

    start: int
    samples: np.ndarray
    windows: tuple[Stretch, ...]
    last: bool = False

    @property
    def end(self) -> int:
        """The sample of the recording that follows."""
        return self.start + len(self.samples)


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
            yield Piece(start, waiting[:cut], _windows(stretches, cut, together))
            start, waiting = start + cut, waiting[cut:]
    if len(waiting):
        yield Piece(start, waiting, _windows(speech(waiting, threshold), len(waiting), together), last=True)


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


def _windows(stretches: Sequence[Stretch], cut: int, together: int) -> tuple[Stretch, ...]:
    """Neighbouring stretches together, as long as they are short enough."""
    windows: list[Stretch] = []
    for start, end in stretches:
        if start >= cut:
            break
        if windows and end - windows[-1][0] <= together and start - windows[-1][1] <= LONGEST_PAUSE:
            windows[-1] = (windows[-1][0], end)
        else:
            windows.append((start, end))
    return tuple(windows)
