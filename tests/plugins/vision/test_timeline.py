"""One timeline of all that was found in a film, by the film's own time, and a contact sheet that shows it."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image as Pictures

from hooks import Audio, Context, Device, Finished, Found, Image, Text, Timeline, TimelineFrame, Video
from plugins.vision import contact_sheet, timeline
from plugins.vision.timeline import TimelineSettings, said_between

CONTEXT = Context(Device(name="light", kind="none", memory_mb=100), Path(), lambda *said: None)


def found(kind: str, **data) -> Found:
    return Found(plugin="some", type=kind, version=1, data=data)


def part(cls, path: Path, role: str = "", moment: float | None = None, *results: Found, **failures) -> Finished:
    name = path.name if cls is Video else path.stem
    event = cls(
        id=name, media_type="x/y", sha256="0" * 64, size=1, path=path, name=name, source="test", origin="film.mp4",
        parent=None if cls is Video else "film.mp4", role=role, moment=moment,
        created=datetime(2026, 11, 20, tzinfo=UTC),
    )  # fmt: skip
    return Finished(event=event, found=results, failures=failures)


def picture(folder: Path, name: str, colour: str, size: tuple[int, int] = (640, 360)) -> Path:
    path = folder / f"{name}.jpg"
    Pictures.new("RGB", size, colour).save(path)
    return path


def segment(start: float, end: float, text: str) -> dict:
    word = {"start": start, "end": end, "text": text, "probability": 0.9}
    return {"start": start, "end": end, "text": text, "words": [word], "low_confidence": False}


CAPTION = found("caption", text="a sea")


@pytest.fixture
def family(tmp_path: Path) -> list[Finished]:
    (tmp_path / "a.srt").write_text(
        "1\r\n00:00:01,500 --> 00:00:02,500\r\nfirst <i>line</i>\r\nin two\r\n\r\n"
        "2\r\n00:01:00.000 --> 00:01:01.000\r\n{\\an8}late\r\n\r\nnot a cue\r\n"
    )
    labels = found("labels", labels=[{"name": name, "score": 0.3} for name in ("red circle", "b", "c", "d")], space="")
    info = found("video_info", seconds=62.0, width=640, height=360, problems=["It ends after 60 of 62 s."])
    said = found("transcript", text="x", language="en", segments=[segment(0.5, 1, "hello"), segment(11.5, 13, "bye")])
    return [
        part(Video, tmp_path / "film.mp4", "", None, info),
        part(Image, picture(tmp_path, "one", "red"), "frame", 0.0, labels),
        part(Image, picture(tmp_path, "two", "blue"), "frame", 12.0, CAPTION, ocr="It broke."),
        part(Audio, tmp_path / "sound.flac", "sound", 2.0, said),
        part(Text, tmp_path / "a.srt", "subtitles", 0.0),
    ]


def gathered(family: list[Finished], **settings) -> dict:
    results = timeline.on_finished(family[0].event, family, TimelineSettings(**settings), CONTEXT)
    return {getattr(one.data, "suffix", one.data.type): one.data for one in results}


def test_what_was_found_stands_in_the_order_of_time_by_the_films_own_clock(family):
    line = gathered(family)["timeline"]
    assert [(one.moment, one.event, one.caption) for one in line.frames] == [(0.0, "one", ""), (12.0, "two", "a sea")]
    assert [label.name for label in line.frames[0].labels] == ["red circle", "b", "c"]
    assert [(one.start, one.end, one.text) for one in line.speech] == [(2.5, 3.0, "hello"), (13.5, 15.0, "bye")]
    assert line.speech[1].words[0].start == 13.5
    assert [(one.start, one.end, one.text) for one in line.subtitles] == [
        (1.5, 2.5, "first line in two"), (60.0, 61.0, "late"),
    ]  # fmt: skip
    assert (line.seconds, line.width, line.language) == (62.0, 640, "en")


def test_what_went_wrong_is_told_with_its_moment(family):
    assert gathered(family)["timeline"].problems == (
        "It ends after 60 of 62 s.",
        "ocr failed on the frame at 00:00:12: It broke.",
    )


def test_the_files_beside_the_sidecar_are_the_timeline_and_a_contact_sheet(family):
    files = gathered(family, sheet_width=800)
    assert set(files) == {"timeline", ".timeline.json", ".contact.jpg"}
    assert Timeline.model_validate_json(files[".timeline.json"].content) == files["timeline"]
    assert json.loads(files[".timeline.json"].content)["frames"][1]["caption"] == "a sea"
    sheet = Pictures.open(io.BytesIO(files[".contact.jpg"].content))
    assert (sheet.format, sheet.width) == ("JPEG", 800)
    colours = {name for _, pixel in sheet.getcolors(sheet.width * sheet.height) if (name := nearest(pixel))}
    assert colours == {"red", "blue"}


def nearest(pixel: tuple[int, int, int]) -> str:
    red, green, blue = pixel
    return "red" if red > 240 and green + blue < 30 else "blue" if blue > 240 and red + green < 30 else ""


def test_subtitles_of_a_film_are_what_is_said_or_else_its_own(family):
    assert "00:00:13,500 --> 00:00:15,000\nbye" in gathered(family)["timeline"].texts()[".srt"]
    without = [one for one in family if one.event.role != "sound"]
    assert "first line in two" in gathered(without)["timeline"].texts()[".srt"]
    assert gathered(without[:2])["timeline"].texts() == {}


def test_of_anything_but_a_film_nothing_is_gathered(family):
    assert list(timeline.on_finished(family[1].event, family[1:], TimelineSettings(), CONTEXT)) == []


def test_no_sheet_is_drawn_when_none_is_wanted_or_nothing_is_seen(family):
    assert ".contact.jpg" not in gathered(family, sheet=False)
    assert ".contact.jpg" not in gathered([one for one in family if one.event.role != "frame"])


def test_a_picture_that_cannot_be_read_any_more_leaves_its_place_empty(family):
    family[1].event.path.unlink()
    family[2].event.path.write_bytes(b"no picture")
    assert gathered(family)[".contact.jpg"].content[:2] == b"\xff\xd8"


@pytest.mark.parametrize(("count", "most", "shown"), [(3, 5, [0, 1, 2]), (9, 5, [0, 2, 4, 6, 8]), (9, 1, [0])])
def test_a_long_film_is_shown_evenly_from_its_first_to_its_last_picture(count, most, shown):
    frames = [TimelineFrame(moment=number, event=str(number)) for number in range(count)]
    assert [frame.moment for frame in contact_sheet.spread(frames, most)] == shown


@pytest.mark.parametrize("size", [(360, 640), (640, 360), (1000, 100)])
@pytest.mark.parametrize("name", ["a" * 300, "日本の夏", "\u200f\n"])
def test_a_sheet_holds_any_name_text_and_shape(tmp_path, size, name):
    path = picture(tmp_path, "one", "green", size)
    frames = tuple(TimelineFrame(moment=i, event="one", caption=name * i) for i in range(7))
    line = Timeline(seconds=1e5, width=size[0], height=size[1], language="", frames=frames)
    content = contact_sheet.draw(name, line, {"one": path}, TimelineSettings(sheet_width=500))
    assert Pictures.open(io.BytesIO(content)).width == 500


def test_what_is_said_belongs_to_the_picture_during_which_it_begins(family):
    line = gathered(family)["timeline"]
    assert [said_between(line, *span) for span in ((0, 12), (12, 99), (20, 99))] == ["hello", "bye", ""]
