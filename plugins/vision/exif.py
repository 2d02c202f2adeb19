"""The EXIF tags of a picture that are told, as JSON values. Imports Pillow: for workers only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from PIL.Image import Image
from pydantic import JsonValue

from plugins.vision.pictures import CONTENT_ERRORS

EXIF_IFD, GPS_IFD = 0x8769, 0x8825
# What says how a picture was made and not by whom or with which very device. Names of CIPA DC-008 (Exif 2.32).
CAMERA_TAGS = {0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x0131: "Software", 0x0132: "DateTime"}
EXPOSURE_TAGS = {
    0x829A: "ExposureTime",
    0x829D: "FNumber",
    0x8822: "ExposureProgram",
    0x8827: "ISOSpeedRatings",
    0x9003: "DateTimeOriginal",
    0x9011: "OffsetTimeOriginal",
    0x9204: "ExposureBiasValue",
    0x9207: "MeteringMode",
    0x9209: "Flash",
    0x920A: "FocalLength",
    0xA403: "WhiteBalance",
    0xA405: "FocalLengthIn35mmFilm",
    0xA434: "LensModel",
}
LONGEST_TEXT = 500


def values(image: Image, *, gps: bool) -> dict[str, JsonValue]:
    """The selected tags that are there; none where the EXIF part is broken, for the picture may be whole."""
    with suppress(OSError, *CONTENT_ERRORS):
        exif = image.getexif()
        found = _named(exif, CAMERA_TAGS) | _named(exif.get_ifd(EXIF_IFD), EXPOSURE_TAGS)
        return found | (place(exif.get_ifd(GPS_IFD)) if gps else {})
    return {}


def place(ifd: Mapping[int, Any]) -> dict[str, JsonValue]:
    """Latitude and longitude in degrees (south and west below zero) and altitude in metres."""
    found = {
        "GPSLatitude": _degrees(ifd.get(2), negative=ifd.get(1) == "S"),
        "GPSLongitude": _degrees(ifd.get(4), negative=ifd.get(3) == "W"),
        "GPSAltitude": _number(ifd.get(6)),
    }
    return {name: value for name, value in found.items() if value is not None}


def _degrees(parts: Any, *, negative: bool) -> float | None:
    numbers = [_number(part) for part in parts] if isinstance(parts, tuple) else []
    known = [number for number in numbers if number is not None]
    if len(known) != 3:
        return None
    degrees, minutes, seconds = known
    return round((degrees + minutes / 60 + seconds / 3600) * (-1 if negative else 1), 7)


def _named(ifd: Mapping[int, Any], names: Mapping[int, str]) -> dict[str, JsonValue]:
    found = {name: _json(ifd.get(tag)) for tag, name in names.items()}
    return {name: value for name, value in found.items() if value not in (None, "")}


def _json(value: Any) -> JsonValue:
    if isinstance(value, str):
        return "".join(letter for letter in value if letter.isprintable()).strip()[:LONGEST_TEXT]
    return value if isinstance(value, int) else _number(value)


def _number(value: Any) -> float | None:
    """None for what is not a number, and for the undefined ones (0/0) that some cameras write."""
    try:
        number = float(value)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return round(number, 6) if math.isfinite(number) else None
