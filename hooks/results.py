"""What plugins find: one small frozen class for each type of result.

A result class has a `type` name and a `version`; a change of meaning raises the version. At most one field, named by
`blob_field`, holds raw bytes: it travels beside the JSON (by shared memory when large) and never inside it. What may be
too large for that is a file in the plugin's scratch folder, named by `file_field`: the host takes it over.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

_SUFFIX = re.compile(r"(\.[a-z0-9_-]{1,16}){1,3}")


def artifact_suffix(text: str) -> str:
    """A suffix that a file beside the sidecar may have: one to three extensions, but not the sidecar's own."""
    if not _SUFFIX.fullmatch(text) or text == ".json":
        raise ValueError('must be one to three extensions of small letters and digits, as ".contact.jpg"')
    return text


class ResultData(BaseModel):
    """Base of every result type; subclass it with a `type` of your own to add one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: ClassVar[str]
    version: ClassVar[int] = 1
    blob_field: ClassVar[str | None] = None
    file_field: ClassVar[str | None] = None

    def split(self) -> tuple[dict[str, JsonValue], bytes | None]:
        """The JSON part and the blob, which is None where the type has none."""
        beside = {name for name in (self.blob_field, self.file_field) if name}
        blob = getattr(self, self.blob_field) if self.blob_field else None
        return self.model_dump(mode="json", exclude=beside), blob

    def file_made(self) -> Path | None:
        """The file that belongs to it, None where there is none."""
        return getattr(self, self.file_field) if self.file_field else None

    def texts(self) -> dict[str, str]:
        """Text files that show this result to people or players, by their suffix as ".srt"; none unless overridden."""
        return {}


def text_files(type_name: str, version: int, data: dict[str, Any]) -> dict[str, str]:
    """The text files of a result of which only the JSON is at hand; none for types that nobody here knows."""
    for known in result_classes():
        if (known.type, known.version) == (type_name, version) and known.texts is not ResultData.texts:
            return known.model_validate(data).texts()
    return {}


def result_classes(base: type[ResultData] = ResultData) -> Iterator[type[ResultData]]:
    """All types of results that are imported, without the classes that several have in common and that are no type."""
    for known in base.__subclasses__():
        if hasattr(known, "type"):
            yield known
        yield from result_classes(known)


def float32_bytes(values: Any) -> bytes:
    """Little-endian float32 bytes of a vector given as bytes, a contiguous float32 buffer (NumPy), or numbers."""
    if isinstance(values, bytes):
        return values
    try:
        view = memoryview(values)
    except TypeError:
        return _packed(values)
    return view.tobytes() if view.format == "f" else _packed(view.tolist())


def _packed(numbers: Iterable[float]) -> bytes:
    return array("f", numbers).tobytes()


class Caption(ResultData):
    """One sentence that says what a picture shows."""

    type = "caption"
    text: str


class Label(BaseModel):
    """A name from the plugin's list and its share of the belief in that list, from 0 to 1."""

    model_config = ConfigDict(frozen=True)
    name: str
    score: float


class Labels(ResultData):
    """The best names from a configurable list, best first; `space` names the model that chose."""

    type = "labels"
    labels: tuple[Label, ...]
    space: str = ""


class Embedding(ResultData):
    """A unit vector of float32; only vectors of one `space` (model and weights) can be compared."""

    type = "embedding"
    blob_field = "vector"
    space: str
    vector: Annotated[bytes, BeforeValidator(float32_bytes)] = Field(repr=False)

    @property
    def dimensions(self) -> int:
        """How many numbers the vector has."""
        return len(self.vector) // 4


class Color(BaseModel):
    """A colour as `#rrggbb` and the share of the picture that it covers, from 0 to 1."""

    model_config = ConfigDict(frozen=True)
    hex: str
    share: float


class ImageInfo(ResultData):
    """What is known of a picture without any model; width and height in pixels, as a viewer shows it upright."""

    type = "image_info"
    width: int
    height: int
    format: str
    mode: str
    frames: int = 1
    orientation: int = 1
    dominant_colors: tuple[Color, ...] = ()
    perceptual_hash: str = ""
    exif: dict[str, JsonValue] = Field(default_factory=dict)


class Thumbnail(ResultData):
    """A small picture; `content` is the encoded file."""

    type = "thumbnail"
    blob_field = "content"
    media_type: str
    width: int
    height: int
    content: bytes = Field(repr=False)


class Artifact(ResultData):
    """A file for people, written beside the sidecar: `suffix` follows the name of what arrived, as ".contact.jpg"."""

    type = "artifact"
    blob_field = "content"
    suffix: Annotated[str, AfterValidator(artifact_suffix)]
    media_type: str
    content: bytes = Field(repr=False)


class TextLine(BaseModel):
    """A line that is written in a picture: how sure the model is, from 0 to 1, and where it stands.

    `box` is left, top, right, bottom in pixels of the picture as a viewer shows it upright.
    """

    model_config = ConfigDict(frozen=True)
    text: str
    confidence: float
    box: tuple[int, int, int, int]


class PictureText(ResultData):
    """What is written in a picture, in the order of reading; empty where nothing is."""

    type = "picture_text"
    text: str
    lines: tuple[TextLine, ...] = ()


class DocumentInfo(ResultData):
    """What is known of a document without reading it: what it says of itself is as its author wrote it.

    `pages_with_text` is how many have text of their own, and were not only drawn or scanned. `problems` are sentences
    for people, as of pages that were left out.
    """

    type = "document_info"
    format: str
    pages: int
    pages_with_text: int = 0
    title: str = ""
    author: str = ""
    problems: tuple[str, ...] = ()


class PageText(BaseModel):
    """The text of a page, counted from 1: the document's own, or read from its picture."""

    model_config = ConfigDict(frozen=True)
    page: int
    text: str
    source: Literal["document", "picture"]


class DocumentText(ResultData):
    """What is written in a document, by page; pages without any text are left out."""

    type = "document_text"
    text: str
    pages: tuple[PageText, ...] = ()

    @classmethod
    def of(cls, pages: Iterable[PageText]) -> Self:
        """The text of these pages, which have an empty line between them."""
        kept = tuple(pages)
        return cls(text="\n\n".join(page.text for page in kept), pages=kept)

    def texts(self) -> dict[str, str]:
        """The plain text, a form feed between two pages."""
        return {".txt": "\f\n".join(f"{page.text}\n" for page in self.pages)}


class Speech(ResultData):
    """A text that was spoken: a recording, written beside the sidecar with its `suffix` (of `note.txt`, `note.wav`).

    `file` is None once the host has taken it. `sample_rate` in Hz, one channel; `duration` in seconds; `loudness` as
    integrated by ITU-R BS.1770 in LUFS, None of silence. `synthetic` is always true, and `cloned` where the voice was
    made after a person's. `first_audio_ms`: when the first sentence could be heard. `problems` are sentences for
    people.
    """

    type = "speech"
    file_field = "file"
    file: Path | None = Field(default=None, repr=False)
    suffix: Annotated[str, AfterValidator(artifact_suffix)] = ".wav"
    media_type: str = "audio/wav"
    sample_rate: int
    duration: float
    voice: str
    language: str
    loudness: float | None = None
    synthetic: Literal[True] = True
    cloned: bool = False
    first_audio_ms: int = 0
    processing_time_ms: int = 0
    problems: tuple[str, ...] = ()


class VideoInfo(ResultData):
    """What a film's headers say; width and height in pixels, as a player shows it upright, 0 without pictures.

    `subtitles` are the languages of its written subtitles, "" where one says none; `frames` is how many pictures were
    taken out of it. `problems` are sentences for people, as of a file that is cut off.
    """

    type = "video_info"
    seconds: float
    width: int
    height: int
    frame_rate: float
    codec: str
    sound_codec: str
    subtitles: tuple[str, ...] = ()
    frames: int = 0
    problems: tuple[str, ...] = ()


class Word(BaseModel):
    """A word as it was heard: seconds from the beginning of the recording, and how sure the model is, from 0 to 1."""

    model_config = ConfigDict(frozen=True)
    start: float
    end: float
    text: str
    probability: float


class Segment(BaseModel):
    """A stretch of speech: seconds from the beginning of the recording, without overlap, in order.

    `average_log_probability`: of the tokens, 0 for a model that has no doubt. `no_speech_probability`: from 0 to 1.
    `low_confidence`: whether the plugin would not rely on it, by thresholds of its own. `words` may be empty. `speaker`
    is who speaks for most of it, where another plugin told the turns.
    """

    model_config = ConfigDict(frozen=True)
    start: float
    end: float
    text: str
    words: tuple[Word, ...] = ()
    average_log_probability: float = 0.0
    no_speech_probability: float = 0.0
    low_confidence: bool = False
    speaker: str = ""


class Transcript(ResultData):
    """What is said in a recording; no segments where nothing is.

    `language` is a code of ISO 639-1 as "en" (that of the text, so "en" after a translation), empty where nothing is
    said; `duration` is the recording's, in seconds.
    """

    type = "transcript"
    text: str
    language: str
    language_probability: float
    duration: float
    segments: tuple[Segment, ...] = ()
    processing_time_ms: int = 0

    @classmethod
    def of(cls, segments: Iterable[Segment], **facts: Any) -> Self:
        """A transcript whose text is that of its segments, a line each."""
        kept = tuple(segments)
        return cls(text="\n".join(segment.text for segment in kept), segments=kept, **facts)

    def spoken_by(self, turns: Iterable[Turn]) -> Self:
        """The same, each segment with whoever speaks longest in it; with nobody where no turn overlaps it."""
        told = tuple(turns)
        segments = tuple(one.model_copy(update={"speaker": _longest(one, told)}) for one in self.segments)
        return self.model_copy(update={"segments": segments})

    def texts(self) -> dict[str, str]:
        """The plain text, and subtitles as SubRip and as WebVTT (https://www.w3.org/TR/webvtt1/)."""
        lines = [(segment.start, segment.end, _one_line(_spoken(segment))) for segment in self.segments]
        cues = [f"{_clock(start)} --> {_clock(end)}\n{line}\n" for start, end, line in lines]
        return {
            ".txt": "".join(f"{line}\n" for _, _, line in lines),
            ".srt": "\n".join(f"{number}\n{cue.replace('.', ',', 2)}" for number, cue in enumerate(cues, 1)),
            ".vtt": "\n".join(["WEBVTT\n", *(cue.replace("&", "&amp;").replace("<", "&lt;") for cue in cues)]),
        }


class Turn(BaseModel):
    """Somebody speaks: seconds from the beginning of the recording. Turns may overlap; `speaker` is a name in it."""

    model_config = ConfigDict(frozen=True)
    start: float
    end: float
    speaker: str


class SpeakerTurns(ResultData):
    """Who speaks when, in the order of the beginnings; the same voice has the same name within one recording."""

    type = "speaker_turns"
    turns: tuple[Turn, ...] = ()


class Mood(BaseModel):
    """How a stretch of a recording sounds: seconds from its beginning, and names with their shares, best first."""

    model_config = ConfigDict(frozen=True)
    start: float
    end: float
    labels: tuple[Label, ...]


class Emotion(ResultData):
    """How a recording sounds, in all and stretch by stretch, names best first; nothing where it is silent."""

    type = "emotion"
    labels: tuple[Label, ...] = ()
    moods: tuple[Mood, ...] = ()


def _longest(segment: Segment, turns: Iterable[Turn]) -> str:
    seconds: dict[str, float] = {}
    for turn in turns:
        common = min(segment.end, turn.end) - max(segment.start, turn.start)
        if common > 0:
            seconds[turn.speaker] = seconds.get(turn.speaker, 0.0) + common
    return max(seconds, key=lambda speaker: seconds[speaker], default="")


def _spoken(segment: Segment) -> str:
    return f"{segment.speaker}: {segment.text}" if segment.speaker else segment.text


def _one_line(text: str) -> str:
    """A line that no player takes for the end of a cue or for the times of one."""
    return " ".join(text.split()).replace("-->", "->")


def _clock(seconds: float) -> str:
    """Hours, minutes, seconds and thousandths, as 01:02:03.004."""
    thousandths = round(seconds * 1000)
    minutes, rest = divmod(thousandths, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}.{rest % 1000:03}"


class TimelineFrame(BaseModel):
    """A picture of a film: its moment in seconds, the event that it is, and what was found in it.

    `texts` are further findings that are text, by their type, as what is written in it.
    """

    model_config = ConfigDict(frozen=True)
    moment: float
    event: str
    caption: str = ""
    labels: tuple[Label, ...] = ()
    texts: dict[str, str] = Field(default_factory=dict)


class Timeline(ResultData):
    """What is seen and said in a film, each in the order of time, in seconds from its beginning.

    `language` is that of the speech; `subtitles` are the lines of the first written track that is in the film itself.
    `problems` are sentences for people: what could not be decoded, or which plugin failed where.
    """

    type = "timeline"
    seconds: float
    width: int
    height: int
    language: str
    frames: tuple[TimelineFrame, ...]
    speech: tuple[Segment, ...] = ()
    subtitles: tuple[Segment, ...] = ()
    problems: tuple[str, ...] = ()

    def texts(self) -> dict[str, str]:
        """What is said, as a transcript's; of a film in which nobody listened, its own subtitles."""
        lines = self.speech or self.subtitles
        facts = {"language": self.language, "language_probability": 1.0, "duration": self.seconds}
        return Transcript.of(lines, **facts).texts() if lines else {}
