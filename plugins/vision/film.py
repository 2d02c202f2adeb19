"""What a film's headers say, and whether that is too much. Imports FFmpeg's libraries: workers only.

Some formats are lists of other files or addresses, whatever a file is called: only formats of a list are opened, from
an open file, with no protocol at all.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from hooks import BadInput, Event
from plugins.vision.video import VideoSettings, readable

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,h264,hevc"
OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": ""}
WRITTEN_SUBTITLES = frozenset({"mov_text", "subrip", "srt", "ass", "ssa", "webvtt", "text"})
MOST_SUBTITLES = 4
NEAR = 0.25  # of the time between two pictures: so far from its moment a key frame may stand
ERRORS_OF_OFFSETS = (errno.EINVAL, errno.EOVERFLOW)  # of a header that sends the reader out of the file
FASTEST = 1000  # pictures a second: more is a broken header


@dataclass(frozen=True, slots=True)
class Subtitles:
    """A track of subtitles that are text: where in the file, and its language, "" where it has none."""

    index: int
    language: str


@dataclass(frozen=True, slots=True)
class Film:
    """What is in a file: indices of its streams, None for what it has not; width and height as they are stored."""

    seconds: float
    picture: int | None
    sound: int | None
    width: int = 0
    height: int = 0
    rotation: int = 0
    frame_rate: float = 0.0
    codec: str = ""
    sound_codec: str = ""
    subtitles: tuple[Subtitles, ...] = ()
    key_frames: tuple[float, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as a player shows it."""
        return (self.height, self.width) if self.rotation % 180 else (self.width, self.height)

    def is_told_by_key_frames(self, every: float) -> bool:
        """Whether a key frame stands near each of the moments at which a picture is wanted."""
        if not self.key_frames or not self.seconds:
            return False
        keys, position = self.key_frames, 0
        moment = 0.0
        while moment < self.seconds - NEAR * every:
            while position < len(keys) and keys[position] < moment - NEAR * every:
                position += 1
            if position == len(keys) or keys[position] > moment + NEAR * every:
                return False
            moment += every
        return True


def probe(event: Event, settings: VideoSettings) -> Film:
    """The film's headers; BadInput says why it is none, or too much of one."""
    with event.open() as file:
        try:
            container = av.open(file, options=OPTIONS, metadata_errors="ignore")
        except (FFmpegError, ValueError, OSError) as error:
            if not isinstance(error, FFmpegError | ValueError) and error.errno not in ERRORS_OF_OFFSETS:
                raise
            said = readable(getattr(error, "strerror", None) or str(error))  # without the path, which is the host's
            raise BadInput(
                f"No format of films that can be opened was recognised ({said}).",
                "If a player plays it, save it as MP4 or MKV; otherwise the file is damaged or cut off.",
            ) from error
        with container:
            film = _described(container, settings)
    _check(film, settings)
    return film


def _described(container: InputContainer, settings: VideoSettings) -> Film:
    streams = container.streams
    if len(streams) > settings.max_streams:
        raise BadInput(
            f"It has {len(streams)} streams; at most {settings.max_streams} are opened.",
            "Raise max_streams in this plugin's settings if such films are expected.",
        )
    picture = next((one for one in streams.video if not one.disposition & Disposition.attached_pic), None)
    sound = streams.best("audio")
    if picture is None and sound is None:
        raise BadInput("There is neither picture nor sound in it.", "Send a film.")
    written = [one for one in streams.subtitles if one.codec_context.name in WRITTEN_SUBTITLES]
    facts: dict[str, Any] = {
        "seconds": _seconds(container),
        "picture": None if picture is None else picture.index,
        "sound": None if sound is None else sound.index,
        "sound_codec": "" if sound is None else sound.codec_context.name,
        "subtitles": tuple(Subtitles(one.index, one.language or "") for one in written[:MOST_SUBTITLES]),
        "problems": _left_out(len(streams.subtitles), len(written)),
    }
    return Film(**facts, **({} if picture is None else _of_picture(container, picture)))


def _of_picture(container: InputContainer, stream: VideoStream) -> dict[str, Any]:
    rate = float(stream.average_rate or 0)
    begins = (container.start_time or 0) / av.time_base
    first = _first_frame(container, stream)
    return {
        "width": stream.codec_context.width,
        "height": stream.codec_context.height,
        "rotation": 0 if first is None else first.rotation,
        "frame_rate": rate if 0 < rate <= FASTEST else 0.0,
        "codec": stream.codec_context.name,
        "key_frames": _key_frames(stream, begins),
    }


def _first_frame(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """The first picture, by which alone a rotation is told; None where it cannot be decoded."""
    try:
        return next(iter(container.decode(stream)), None)
    except FFmpegError:
        return None


def _key_frames(stream: VideoStream, begins: float) -> tuple[float, ...]:
    """When key frames come, by the file's index; nothing where it has none."""
    base: Fraction = stream.time_base or Fraction(0)
    moments = (float(entry.timestamp * base) - begins for entry in stream.index_entries if entry.is_keyframe)
    return tuple(sorted(max(0.0, moment) for moment in moments))


def _seconds(container: InputContainer) -> float:
    return max(0.0, (container.duration or 0) / av.time_base)


def _left_out(all_of_them: int, written: int) -> tuple[str, ...]:
    problems = []
    if all_of_them > written:
        problems.append(f"{all_of_them - written} track(s) of subtitles are pictures, not text, and were left out.")
    if written > MOST_SUBTITLES:
        problems.append(f"Of {written} tracks of subtitles the first {MOST_SUBTITLES} were taken.")
    return tuple(problems)


def _check(film: Film, settings: VideoSettings) -> None:
    if film.seconds > settings.max_hours * 3600:
        raise BadInput(
            f"It is {film.seconds / 3600:.1f} hours long; at most {settings.max_hours:g} are worked on.",
            "Cut it, or raise max_hours in this plugin's settings.",
        )
    megapixels = film.width * film.height / 1e6
    if megapixels > settings.max_megapixels:
        raise BadInput(
            f"Its pictures have {megapixels:.1f} megapixels; at most {settings.max_megapixels:g} are decoded.",
            "Scale it down, or raise max_megapixels in this plugin's settings.",
        )
