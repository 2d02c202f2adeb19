"""A film as one result: what is seen and said, by time, with a contact sheet and subtitles beside it."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hooks import (
    Artifact,
    Context,
    Event,
    Finished,
    Found,
    Label,
    ModelSpec,
    Result,
    Segment,
    Timeline,
    TimelineFrame,
    VideoInfo,
    hookimpl,
)

api = ">=1,<2"

TIMES = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{3})\s*-->\s*(\d+):(\d\d):(\d\d)[,.](\d{3})")
MARKUP = re.compile(r"<[^>]*>|\{\\[^}]*\}")
LARGEST_SUBTITLES = 8 * 1024 * 1024


class TimelineSettings(BaseModel):
    """What a timeline and its contact sheet show."""

    model_config = ConfigDict(extra="forbid")

    labels: int = Field(3, ge=0, description="How many names to tell of each picture, best first.")
    sheet: bool = Field(True, description="Whether to draw a contact sheet, NAME.contact.jpg in the outbox.")
    sheet_pictures: int = Field(40, ge=1, le=400, description="Pictures on it at most, evenly spread.")
    sheet_columns: int = Field(5, ge=1, le=20, description="Pictures in a row.")
    sheet_width: int = Field(1920, ge=320, le=8192, description="Its width in pixels.")


@hookimpl
def settings_class() -> type[BaseModel]:
    return TimelineSettings


@hookimpl
def model_spec(settings: TimelineSettings) -> ModelSpec:
    return ModelSpec(name="timeline", device="none", keep_alive=60, memory_mb=300)


@hookimpl
def on_finished(
    event: Event, results: list[Finished], settings: TimelineSettings, context: Context
) -> Iterator[Result]:
    if event.kind != "video":
        return
    timeline = timeline_of(results, settings)
    yield event.result(timeline)
    body = timeline.model_dump_json(indent=2).encode() + b"\n"
    yield event.result(Artifact(suffix=".timeline.json", media_type="application/json", content=body))
    if settings.sheet and timeline.frames:
        from plugins.vision import contact_sheet

        paths = {one.event.id: one.event.path for one in results}
        content = contact_sheet.draw(event.name, timeline, paths, settings)
        yield event.result(Artifact(suffix=".contact.jpg", media_type="image/jpeg", content=content))


def timeline_of(family: Sequence[Finished], settings: TimelineSettings) -> Timeline:
    """What was found in a film and in all that was taken out of it, in the order of time."""
    film, *parts = family
    info = next((one.data for one in film.found if one.type == VideoInfo.type), {})
    transcripts = [(one, found) for one in parts for found in one.found if found.type == "transcript"]
    return Timeline(
        seconds=float(info.get("seconds") or 0.0),
        width=int(info.get("width") or 0),
        height=int(info.get("height") or 0),
        language=next((str(found.data.get("language", "")) for _, found in transcripts), ""),
        frames=tuple(_frame(one, settings) for one in parts if one.event.role == "frame"),
        speech=tuple(sorted(_speech(transcripts), key=lambda segment: segment.start)),
        subtitles=tuple(next((_subtitles(one) for one in parts if one.event.role == "subtitles"), ())),
        problems=(*_problems_of(info), *_failures(family)),
    )


def _frame(part: Finished, settings: TimelineSettings) -> TimelineFrame:
    labels = next((found.data.get("labels") for found in part.found if found.type == "labels"), None)
    names = [Label.model_validate(one) for one in labels or ()] if isinstance(labels, list | None) else []
    texts = {found.type: str(found.data["text"]) for found in part.found if isinstance(found.data.get("text"), str)}
    return TimelineFrame(
        moment=part.event.moment or 0.0,
        event=part.event.id,
        caption=texts.get("caption", ""),
        labels=tuple(names[: settings.labels]),
        texts={name: text for name, text in texts.items() if name != "caption"},
    )


def _speech(transcripts: Sequence[tuple[Finished, Found]]) -> Iterator[Segment]:
    """What is said, by the film's time: that of the sound begins where the sound does."""
    for part, found in transcripts:
        begins = part.event.moment or 0.0
        for said in _list(found.data.get("segments")):
            segment = Segment.model_validate(said)
            words = tuple(_later(word, begins) for word in segment.words)
            yield _later(segment, begins).model_copy(update={"words": words})


def _later(what: Any, seconds: float) -> Any:
    times = {"start": round(what.start + seconds, 3), "end": round(what.end + seconds, 3)}
    return what.model_copy(update=times)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _subtitles(part: Finished) -> Iterator[Segment]:
    """The lines of a track that is in the film; what is not SubRip is left out."""
    with part.event.open() as file:
        text = file.read(LARGEST_SUBTITLES).decode("utf-8", "replace")
    for block in re.split(r"\r?\n\s*\r?\n", text):
        if times := TIMES.search(block):
            line = " ".join(MARKUP.sub("", block[times.end() :]).split())
            begins, ends = _seconds(times.groups()[:4]), _seconds(times.groups()[4:])
            if line:
                yield Segment(start=begins, end=ends, text=line)


def _seconds(parts: Sequence[str]) -> float:
    hours, minutes, seconds, thousandths = map(int, parts)
    return 3600 * hours + 60 * minutes + seconds + thousandths / 1000


def _problems_of(info: dict[str, Any]) -> list[str]:
    return [str(one) for one in _list(info.get("problems"))]


def _failures(family: Sequence[Finished]) -> Iterator[str]:
    for one in family:
        where = "" if one.event.moment is None else f" at {clock(one.event.moment)}"
        for plugin, reason in one.failures.items():
            yield f"{plugin} failed on the {one.event.role or 'film'}{where}: {reason}"


def said_between(timeline: Timeline, begins: float, ends: float) -> str:
    """What is said, or written in the film where nobody listened, with its middle from one moment up to another."""
    lines = timeline.speech or timeline.subtitles
    first, last = (bisect.bisect_left(lines, moment, key=_middle) for moment in (begins, ends))
    return " ".join(line.text for line in lines[first:last])


def _middle(line: Segment) -> float:
    return (line.start + line.end) / 2


def clock(seconds: float) -> str:
    """A moment as players show it: 00:12:31."""
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
