"""Recordings as a stream of sound, whatever they are wrapped in: 16 kHz, mono, float32. Imports FFmpeg: workers only.

A file is a recording because it says so in its first bytes, and some formats are lists of other files or addresses.
So only formats of a list are opened, from an open file, and no protocol is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError, InvalidDataError

from hooks import BadInput, Event

RATE = 16_000
FORMATS = "wav,w64,mp3,ogg,flac,mov,matroska,aac,aiff,au,caf,amr,asf,wv,ac3,eac3,ape,tta,mpegts,avi"
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": ""}
RATES = range(1_000, 800_001)  # what a header may say; others would make hours of a second, or none
MOST_CHANNELS = 64
BLOCK = 10 * RATE


class Recording:
    """An open recording; `seconds` is its length as its header has it, 0 where it has none."""

    def __init__(self, container: InputContainer, stream: AudioStream) -> None:
        self._container = container
        self._stream = stream
        self.seconds = _stated_seconds(container, stream)

    def blocks(self) -> Iterator[np.ndarray]:
        """The sound in blocks of some seconds, once; damaged parts are left out. BadInput where nothing is left."""
        parts: list[np.ndarray] = []
        waiting = heard = 0
        for part in self._decoded():
            parts.append(part)
            waiting += len(part)
            heard += len(part)
            if waiting >= BLOCK:
                yield np.concatenate(parts)
                parts, waiting = [], 0
        if parts:
            yield np.concatenate(parts)
        if not heard and self._damage:
            raise BadInput(f"The recording cannot be decoded: {self._damage}.", "Send a good copy of the file.")

    _damage = ""

    def _decoded(self) -> Iterator[np.ndarray]:
        resampler, shape = None, None
        for frame in self._frames():
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if now != shape:  # some files change their mind on the way
                yield from _resampled(resampler, None)
                resampler, shape = AudioResampler("flt", "mono", RATE), now
            frame.pts = None
            yield from _resampled(resampler, frame)
        yield from _resampled(resampler, None)

    def _frames(self) -> Iterator[av.AudioFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:  # the end is missing
                self._damage = _said(error)
                packet = None
            if packet is None:
                return
            try:
                yield from packet.decode()
            except InvalidDataError as error:
                self._damage = _said(error)


@contextmanager
def opened(event: Event) -> Iterator[Recording]:
    """The recording with its headers read; BadInput says why it is none."""
    with event.open() as file:
        try:
            container = av.open(file, options=OPTIONS, metadata_errors="ignore")
        except (FFmpegError, ValueError) as error:
            raise BadInput(
                f"No format of recordings that can be opened was recognised ({_said(error)}).",
                "If a player plays it, save it as WAV or FLAC; otherwise the file is damaged.",
            ) from error
        with container:
            yield Recording(container, _sound_of(container))


def _sound_of(container: InputContainer) -> AudioStream:
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream):
        raise BadInput("There is no sound in it.", "Nothing can be heard in a file without a sound track.")
    rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
    if rate not in RATES or not 1 <= channels <= MOST_CHANNELS:
        raise BadInput(
            f"Its header says {channels} channels at {rate:,} samples a second.",
            f"From 1 to {MOST_CHANNELS} channels at {RATES.start:,} to {RATES.stop - 1:,} are decoded.",
        )
    return stream


def _resampled(resampler: AudioResampler | None, frame: av.AudioFrame | None) -> Iterator[np.ndarray]:
    if resampler is not None:
        with suppress(EOFError):
            for part in resampler.resample(frame):
                yield np.clip(np.nan_to_num(part.to_ndarray()[0]), -1, 1)


def _stated_seconds(container: InputContainer, stream: AudioStream) -> float:
    if stream.duration and stream.time_base:
        return max(0.0, float(stream.duration * stream.time_base))
    return max(0.0, (container.duration or 0) / av.time_base)


def _said(error: Exception) -> str:
    return (getattr(error, "strerror", "") or str(error) or type(error).__name__).rstrip(".")
