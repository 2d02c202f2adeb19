"""Pictures that nobody has vouched for: budgets are checked by the header, then Pillow decodes the first frame.

Every fault of the content becomes `BadInput`. This module imports Pillow, so only workers import it.
"""

from __future__ import annotations

import errno
import functools
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, Protocol, cast

from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from hooks import BadInput

# Nothing that runs another program (EPS starts Ghostscript), that stands for a format without decoding it, or that has
# no mark of its own (TGA), so that anything may be taken for it.
FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "ICO", "ICNS", "CUR", "PSD", "QOI"),
    *("DDS", "PCX", "SGI", "SUN"),
)
REDUCIBLE_MODES = ("L", "LA", "RGB", "RGBA", "CMYK")
GREY_RANGE = {"I;16": (0, 65535), "I;16B": (0, 65535), "I;16L": (0, 65535), "I;16N": (0, 65535)}
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture upright, by its EXIF orientation (CIPA DC-008, tag 0x0112)."""

# What Pillow's decoders raise on broken content: found by flipping bits in every format, see test_pictures.py.
CONTENT_ERRORS = (
    *(SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError, EOFError),
    struct.error,
)
ERRORS_OF_OFFSETS = (None, errno.EINVAL, errno.EOVERFLOW)


@contextmanager
def content_at_fault(media_type: str = "") -> Iterator[None]:
    """Turn what Pillow raises on bad content into BadInput; faults of the machine, such as a failing disk, pass."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise _over_budget(error) from error
    except UnidentifiedImageError as error:
        raise _unrecognised(media_type) from error
    except OSError as error:
        if error.errno not in ERRORS_OF_OFFSETS:
            raise
        raise _undecodable(error) from error
    except CONTENT_ERRORS as error:
        raise _undecodable(error) from error


class File(Protocol):
    """What is needed of an event to open its picture."""

    @property
    def media_type(self) -> str: ...

    def open(self) -> BinaryIO: ...


@contextmanager
def opened(event: File, max_megapixels: float) -> Iterator[ImageFile]:
    """The picture with only its header read; BadInput when it is too large or not a picture."""
    Image.MAX_IMAGE_PIXELS = int(max_megapixels * 500_000)  # Pillow refuses from twice this on, inner pictures too
    with _content(event) as file:
        with content_at_fault(event.media_type):
            image = _open(file)
        with image:
            yield image


@content_at_fault()
def decoded(image: ImageFile, shorter: int) -> Image.Image:
    """The first frame, upright, as RGB on white; a shorter side of more than `shorter` pixels may come down to that.

    Shrinking happens while a JPEG is decoded, which is several times faster, and before colours are converted.
    """
    image.draft("RGB", (shorter, shorter))
    image.load()
    turn = UPRIGHT.get(orientation(image))  # after load: Pillow turns a TIFF by itself, and says so here
    pixels = _shrunk(_on_white(_shrunk(image, shorter)), shorter)
    return pixels if turn is None else pixels.transpose(turn)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where it is missing or makes no sense. BadInput for a damaged PNG."""
    if image.format == "PNG":  # its EXIF may follow the pixels: Pillow loads them for it, and only the first time fails
        with content_at_fault():
            image.load()
    with suppress(OSError, *CONTENT_ERRORS):
        value = image.getexif().get(ExifTags.Base.Orientation)
        return value if value in UPRIGHT else 1
    return 1


def upright_size(image: ImageFile) -> tuple[int, int]:
    """Width and height as a viewer shows it, from the header."""
    turned = orientation(image) >= 5 and image.format != "TIFF"  # Pillow gives a TIFF's size upright
    return (image.height, image.width) if turned else image.size


@content_at_fault()
def frame_count(image: ImageFile, at_most: int) -> int:
    """How many frames there are, without decoding one.

    A TIFF's are counted up to `at_most`, because the time that Pillow takes grows with their square.
    """
    if image.format != "TIFF":
        return int(getattr(image, "n_frames", 1))
    count = 1
    while count < at_most and _has_frame(image, count):
        count += 1
    image.seek(0)
    return count


def page(image: ImageFile, number: int, longest_side: int, max_megapixels: float) -> Image.Image:
    """A further page of a TIFF, counted from 0, as RGB on white; BadInput when it is too large or damaged."""
    with content_at_fault():
        image.seek(number)
    if image.width * image.height > max_megapixels * 1_000_000:
        raise BadInput(
            f"Page {number + 1} has {image.width * image.height / 1e6:,.1f} megapixels; at most {max_megapixels:,.1f}"
            " are opened.",
            "Scale it down, or raise max_megapixels in this plugin's settings.",
        )
    pixels = decoded(image, longest_side)
    pixels.thumbnail((longest_side, longest_side))
    return pixels


def middle(image: Image.Image, ratio: int) -> Image.Image:
    """The picture cut off on both ends where its longer side is more than `ratio` times the shorter one."""
    width, height = min(image.width, ratio * image.height), min(image.height, ratio * image.width)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image if (width, height) == image.size else image.crop((left, top, left + width, top + height))


def _content(event: File) -> BinaryIO:
    try:
        return event.open()
    except FileNotFoundError as error:
        raise BadInput("The content is no longer there.", "Hand the file in again.") from error


def _open(file: BinaryIO) -> ImageFile:
    head = file.read(12)
    file.seek(0)
    formats = [*FORMATS, "HEIF"] if head[4:8] == b"ftyp" and _heif_is_registered() else FORMATS
    _hush_pillow()
    return Image.open(file, formats=formats)


@functools.cache
def _hush_pillow() -> None:
    """Pillow warns of half its limit and of odd metadata, where nobody reads it; once, for filters know no threads."""
    warnings.filterwarnings("ignore", module="PIL")


@functools.cache
def _heif_is_registered() -> bool:
    import pillow_heif  # a native library that most inboxes never need

    pillow_heif.register_heif_opener()
    return True


def _has_frame(image: ImageFile, number: int) -> bool:
    try:
        image.seek(number)
    except EOFError:
        return False
    return True


def _shrunk(image: Image.Image, shorter: int) -> Image.Image:
    factor = min(image.size) // shorter
    return image.reduce(factor) if factor > 1 and image.mode in REDUCIBLE_MODES else image


def _on_white(image: Image.Image) -> Image.Image:
    """RGB of any mode: transparent parts become white, grey of more than 8 bits is scaled down to 8."""
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    if image.mode[0] in "IF":
        return _eight_bits(image).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Deep grey as 8 bits: by the full range where the mode has one, else by the range of this picture."""
    grey = image.convert("F")
    low, high = GREY_RANGE.get(image.mode) or cast("tuple[float, float]", grey.getextrema())
    scale = 255 / (high - low) if high > low else 0.0
    return grey.point(lambda value: value * scale - low * scale).convert("L")


def _over_budget(error: Exception) -> BadInput:
    pixels, limit = (int(number) / 1e6 for number in re.findall(r"\d+", str(error))[:2])
    return BadInput(
        f"The picture would have {pixels:,.1f} megapixels; at most {limit:,.1f} are opened.",
        "Scale it down, or raise max_megapixels in this plugin's settings if such pictures are expected.",
    )


def _unrecognised(media_type: str) -> BadInput:
    if media_type == "image/svg+xml":
        return BadInput("An SVG is a drawing, not pixels, and is not opened here.", "Export it as PNG.")
    seen_as = media_type or "nothing known"
    return BadInput(
        f"No format of pictures that can be opened was recognised (the content looks like {seen_as}).",
        "If a viewer shows it, save it as PNG or JPEG; otherwise the file is damaged.",
    )


def _undecodable(error: Exception) -> BadInput:
    said = re.sub(r"[^ -~]+", " ", str(error))[:200].rstrip(". ") or type(error).__name__
    return BadInput(f"The picture cannot be decoded: {said}.", "The file is damaged or incomplete: send a good copy.")
