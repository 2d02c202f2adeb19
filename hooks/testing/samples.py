"""Small real files of every kind, made by the standard library alone, and their empty, broken and huge relatives."""

from __future__ import annotations

import array
import io
import itertools
import json
import math
import random
import struct
import wave
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

WIDTH, HEIGHT = 96, 64
RATE = 16_000
FRAMES_A_SECOND = 10
SENTENCES = (
    "The lighthouse was painted red in spring.",
    "Every evening its lamp is lit at eight.",
    "From the beach one sees it turn.",
)
RECORDS = tuple({"station": f"buoy-{number}", "temperature": 11.5 + number / 4, "at": number} for number in range(8))
RGB = tuple[int, int, int]


def sample(kind: str) -> tuple[str, str, bytes]:
    """Name, media type and content of a small file of one of the six kinds; the same bytes each time."""
    name, media_type, make = SAMPLES[kind]
    return name, media_type, make()


def png(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A red square on white, as PNG."""
    rows = (b"\0" + b"".join(bytes(_color(x / width, y / height)) for x in range(width)) for y in range(height))
    return _png(width, height, 2, b"".join(rows))


def _color(x: float, y: float, left: float = 0.2) -> RGB:
    return (200, 30, 30) if left < x < left + 0.4 and 0.2 < y < 0.8 else (255, 255, 255)


def _png(width: int, height: int, color_type: int, rows: bytes, depth: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def huge_png(side: int = 30_000) -> bytes:
    """A picture of 900 megapixels in about 110 KB: a few bytes that would need gigabytes."""
    return _png(side, side, 0, bytes((side // 8 + 1) * side), depth=1)


def wav(seconds: float = 1.0, rate: int = RATE, loudness: float = 0.3) -> bytes:
    """A tone of 440 Hz, mono, 16 bits."""
    period = [math.sin(math.tau * 440 * n / rate) for n in range(rate)]  # after a second it is where it began
    second = array.array("h", (round(32767 * loudness * value) for value in period))
    samples = array.array("h", itertools.islice(itertools.cycle(second), round(seconds * rate)))
    if samples and struct.pack("=H", 1) == b"\0\1":
        samples.byteswap()
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, rate, 0, "NONE", ""))
        writer.writeframes(samples.tobytes())
    return file.getvalue()


def avi(frames: int = 10, width: int = 32, height: int = 24) -> bytes:
    """A red square that moves, uncompressed (DIB), ten pictures a second, no sound. Source: the AVI RIFF reference."""
    pictures = [_dib(width, height, index / max(1, frames)) for index in range(min(frames, 10))]
    body = b"".join(_chunk(b"00db", pictures[index % len(pictures)]) for index in range(frames))
    size = width * height * 3
    main = struct.pack("<14I", 1_000_000 // FRAMES_A_SECOND, size, 0, 0, frames, 0, 1, size, width, height, 0, 0, 0, 0)
    stream = b"vidsDIB " + struct.pack(
        "<IHHIIIIIIiI4H", 0, 0, 0, 0, 1, FRAMES_A_SECOND, 0, frames, size, -1, 0, 0, 0, width, height
    )
    bitmap = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, size, 0, 0, 0, 0)
    streams = _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", bitmap))
    return _chunk(b"RIFF", b"AVI " + _list(b"hdrl", _chunk(b"avih", main) + streams) + _list(b"movi", body))


def _dib(width: int, height: int, phase: float) -> bytes:
    """Bottom-up rows of blue, green, red; a row of `width` pixels, which is to be a multiple of four."""
    pixels = (_color(x / width, 1 - y / height, 0.1 + phase / 2)[::-1] for y in range(height) for x in range(width))
    return bytes(itertools.chain.from_iterable(pixels))


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def _list(name: bytes, body: bytes) -> bytes:
    return _chunk(b"LIST", name + body)


def pdf(pages: int = 1, sentences: Iterable[str] = SENTENCES) -> bytes:
    """Pages that say the sentences in Helvetica. Source: ISO 32000-1, 7.5."""
    shown = b" ".join(b"(%s) ' " % sentence.encode() for sentence in sentences)
    content = b"BT /F1 14 Tf 18 TL 40 740 Td " + shown + b"ET"
    kids = b" ".join(b"%d 0 R" % (5 + number) for number in range(pages))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, pages),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        *[
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>"
        ]
        * pages,
    ]
    file, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(objects, start=1):
        places.append(len(file))
        file += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    tail = b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n"
    return bytes(file) + tail % (size, table, size, len(file))


def text(repeats: int = 1) -> bytes:
    """A few sentences."""
    return ("\n".join(SENTENCES) + "\n").encode() * repeats


def records(repeats: int = 1) -> bytes:
    """A JSON list of readings."""
    once = json.dumps(RECORDS)[1:-1]
    return "".join(("[", ",\n ".join([once] * repeats), "]\n")).encode()


SAMPLES: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "image": ("square.png", "image/png", png),
    "audio": ("tone.wav", "audio/x-wav", wav),
    "video": ("moving.avi", "video/x-msvideo", avi),
    "document": ("page.pdf", "application/pdf", pdf),
    "text": ("lines.txt", "text/plain", text),
    "data": ("readings.json", "application/json", records),
}
_HUGE: dict[str, Callable[[], bytes]] = {
    "image": huge_png,
    "audio": lambda: wav(1200, 8000, 0.0),
    "video": lambda: avi(3000),
    "document": lambda: pdf(3000),
    "text": lambda: text(200_000),
    "data": lambda: records(40_000),
}


def huge(kind: str) -> bytes:
    """A valid content of this kind that is far larger than what a plugin is tried with: 20 MB, or 900 megapixels."""
    return _HUGE[kind]()


def broken(kind: str) -> bytes:
    """The beginning of a sample, then noise: what a cut connection or a bad disk leaves."""
    content = sample(kind)[2]
    return content[: len(content) // 3] + random.Random(3).randbytes(2000)


def write(folder: Path, name: str, content: bytes) -> Path:
    """Write a content into a folder, which is made, under a name that is not taken there."""
    folder.mkdir(parents=True, exist_ok=True)
    stem, _, suffix = name.rpartition(".")
    names = itertools.chain([name], (f"{stem or name}-{number}.{suffix}" for number in itertools.count(2)))
    path = next(folder / one for one in names if not (folder / one).exists())
    path.write_bytes(content)
    return path
