"""Tracks, a kind of event of its own: GPX files (https://www.topografix.com/GPX/1/1/), measured and drawn."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Iterator
from typing import Literal
from xml.etree import ElementTree

from hooks import Artifact, Event, Failure, Result, ResultData, hookimpl

api = ">=1,<2"
WIDTH, HEIGHT, MARGIN = 800, 600, 40
EARTH = 6371.0088  # km, mean radius

Point = tuple[float, float]  # latitude and longitude in degrees


class Track(Event):
    """A way that somebody went, as GPX."""

    kind: Literal["track"] = "track"


class TrackInfo(ResultData):
    """How long a way is, and how many points it has."""

    type = "track_info"
    kilometres: float
    points: int


@hookimpl
def register_kinds() -> list[type[Event]]:
    return [Track]


@hookimpl
def identify(head: bytes) -> tuple[str, str] | None:
    return ("track", "application/gpx+xml") if b"<gpx" in head else None


@hookimpl
def on_track(events: list[Track]) -> Iterator[Result | Failure]:
    for event in events:
        try:
            parts = [part for part in segments(ElementTree.parse(event.path).getroot()) if part]
        except (ElementTree.ParseError, KeyError, ValueError) as error:
            yield event.failure(f"It is no GPX: {error!r}.")
            continue
        if not parts:
            yield event.failure("There is no track in it.")
            continue
        kilometres = sum(distance(*pair) for part in parts for pair in itertools.pairwise(part))
        yield event.result(TrackInfo(kilometres=round(kilometres, 3), points=sum(map(len, parts))))
        yield event.result(Artifact(suffix=".map.png", media_type="image/png", content=drawn(parts)))


def segments(root: ElementTree.Element) -> Iterator[list[Point]]:
    """The points of each part of a track or route, in order."""
    for part in (*root.iterfind(".//{*}trkseg"), *root.iterfind(".//{*}rte")):
        yield [(float(point.attrib["lat"]), float(point.attrib["lon"])) for point in part if "lat" in point.attrib]


def distance(one: Point, other: Point) -> float:
    """Kilometres along a great circle (the haversine formula)."""
    up, along = math.radians(other[0] - one[0]) / 2, math.radians(other[1] - one[1]) / 2
    both = math.cos(math.radians(one[0])) * math.cos(math.radians(other[0]))
    return 2 * EARTH * math.asin(math.sqrt(math.sin(up) ** 2 + both * math.sin(along) ** 2))


def drawn(parts: list[list[Point]]) -> bytes:
    """A map as PNG: north is up, the way blue, its start green and its end red."""
    from PIL import Image, ImageDraw  # in the worker: the host imports this module too

    points = [point for part in parts for point in part]
    south, west = (min(point[axis] for point in points) for axis in (0, 1))
    north, east = (max(point[axis] for point in points) for axis in (0, 1))
    narrow = math.cos(math.radians((south + north) / 2))  # of a degree of longitude, beside one of latitude
    scale = min(
        (WIDTH - 2 * MARGIN) / max((east - west) * narrow, 1e-6), (HEIGHT - 2 * MARGIN) / max(north - south, 1e-6)
    )
    places = [
        [(MARGIN + (lon - west) * narrow * scale, MARGIN + (north - lat) * scale) for lat, lon in p] for p in parts
    ]
    picture = Image.new("RGB", (WIDTH, HEIGHT), "#f4f1ea")
    pen = ImageDraw.Draw(picture)
    for place in places:
        pen.line(place, fill="#2b6cb0", width=4, joint="curve")
    for end, colour in ((places[0][0], "#2f855a"), (places[-1][-1], "#c53030")):
        pen.circle(end, 8, fill=colour)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()
