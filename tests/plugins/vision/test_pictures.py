"""A picture is opened as a viewer shows it, or refused with a sentence, before it can cost much."""

from __future__ import annotations

import errno
import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from hooks import BadInput
from plugins.vision import pictures
from tests.worker_client import image_event

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
ORIENTATION = 0x0112

# A worker hushes Pillow once and for all; pytest brings the warnings back for each test.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def png(width: int, height: int) -> bytes:
    """A black picture of one bit a pixel: its file is a thousandth of what it takes in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(height * (1 + (width + 7) // 8)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def ico(content: bytes) -> bytes:
    """An icon that says it is 16 x 16 and holds a PNG of any size."""
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(content), 22) + content


def gif(width: int, height: int, frames: int = 1) -> bytes:
    """Frames of one pixel on a screen of any size."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return screen + frame * frames + b";"


def webp(width: int, height: int) -> bytes:
    """The header of a lossless WebP and nothing to decode."""
    data = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + bytes(19)
    return b"RIFF" + struct.pack("<I", len(data) + 12) + b"WEBPVP8L" + struct.pack("<I", len(data)) + data


def bmp(width: int, height: int) -> bytes:
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + sizes


BOMBS = {
    "a.png": png(13_000, 13_000),
    "a.ico": ico(png(13_000, 13_000)),
    "a.gif": gif(65_535, 65_535),
    "a.webp": webp(16_000, 16_000),
    "a.bmp": bmp(30_000, 30_000),
}


def corner(size: tuple[int, int] = (40, 20)) -> Image.Image:
    """White with a red rectangle at the top left, so that it shows how it is turned."""
    image = Image.new("RGB", size, WHITE)
    ImageDraw.Draw(image).rectangle((0, 0, size[0] // 2 - 1, size[1] // 2 - 1), fill=RED)
    return image


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def decoded(path: Path, shorter: int = 10_000, media_type: str = "image/png") -> Image.Image:
    with pictures.opened(image_event(path, media_type), 80) as image:
        return pictures.decoded(image, shorter)


def refusal(path: Path, media_type: str = "image/png", max_megapixels: float = 80) -> str:
    with pytest.raises(BadInput) as caught, pictures.opened(image_event(path, media_type), max_megapixels) as image:
        pictures.decoded(image, 64)
    return str(caught.value)


def close_to(color: tuple[int, ...], wanted: tuple[int, ...], tolerance: int = 40) -> bool:
    return max(abs(a - b) for a, b in zip(color, wanted, strict=True)) <= tolerance


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_its_header_without_costing_memory(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BOMBS[name])
    assert path.stat().st_size < 30_000
    child = f"""
from pathlib import Path
from plugins.vision import pictures
from tests.worker_client import image_event
from hooks import BadInput
from hooks.worker import memory_mb
from PIL import Image
Image.init()
before, _ = memory_mb()
try:
    with pictures.opened(image_event(Path({str(path)!r})), 80) as image:
        pictures.decoded(image, 64)
except BadInput as error:
    print(memory_mb()[0] - before, error, sep=";")
"""
    said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True, timeout=120).stdout
    growth, _, reason = said.partition(";")
    assert float(growth) < 30
    assert "megapixels; at most 80.0 are opened" in reason


def test_the_refusal_of_a_bomb_says_how_large_it_would_be_and_what_to_do(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(BOMBS["a.png"])
    assert refusal(path) == (
        "The picture would have 169.0 megapixels; at most 80.0 are opened. "
        "Scale it down, or raise max_megapixels in this plugin's settings if such pictures are expected."
    )


def test_the_limit_of_megapixels_is_exact(tmp_path):
    path = saved(Image.new("L", (1000, 1000)), tmp_path / "a.png")
    with pictures.opened(image_event(path), 1.0) as image:
        assert image.size == (1000, 1000)
    assert "would have 1.0 megapixels; at most 1.0" in refusal(path, max_megapixels=0.999)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr", "I;16", "I", "F"])
@pytest.mark.parametrize("shorter", [8, 10_000])
def test_every_mode_becomes_rgb_and_keeps_its_looks(tmp_path, mode, shorter):
    grey = Image.linear_gradient("L").resize((64, 48))
    if mode in ("I;16", "I"):
        image = grey.convert("I").point(lambda value: value * 257).convert(mode)
    else:
        image = grey.convert(mode)
    suffix = "jpg" if mode == "YCbCr" else "tif" if mode in ("CMYK", "I", "F") else "png"
    pixels = decoded(saved(image, tmp_path / f"a.{suffix}"), shorter)
    assert pixels.mode == "RGB"
    assert close_to(pixels.resize((1, 1)).getpixel((0, 0)), (127, 127, 127), 12)
    assert pixels.getpixel((0, 0))[0] < pixels.getpixel((pixels.width - 1, pixels.height - 1))[0]


def test_transparent_parts_become_white(tmp_path):
    image = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    image.paste((*RED, 255), (0, 0, 10, 20))
    image.putpixel((19, 19), (0, 0, 0, 128))
    pixels = decoded(saved(image, tmp_path / "a.png"))
    assert pixels.getpixel((0, 0)) == RED
    assert pixels.getpixel((15, 0)) == WHITE
    assert close_to(pixels.getpixel((19, 19)), (127, 127, 127), 2)


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_a_transparent_colour_of_a_palette_becomes_white(tmp_path, name):
    image = Image.new("P", (20, 20), 0)
    image.putpalette([0, 0, 0, *RED])
    image.paste(1, (0, 0, 10, 20))
    pixels = decoded(saved(image, tmp_path / name, transparency=0))
    assert (pixels.getpixel((0, 0)), pixels.getpixel((15, 0))) == (RED, WHITE)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp", "a.avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_comes_upright_whatever_its_orientation(tmp_path, name, orientation):
    upright = corner()
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    turn = back.get(orientation, pictures.UPRIGHT.get(orientation))
    stored = upright if turn is None else upright.transpose(turn)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = saved(stored, tmp_path / name, exif=exif)
    with pictures.opened(image_event(path), 80) as image:
        assert pictures.upright_size(image) == upright.size
        assert pictures.orientation(image) == orientation
        pixels = pictures.decoded(image, 10_000)
    assert pixels.size == upright.size
    assert close_to(pixels.getpixel((4, 4)), RED)
    for white in ((35, 4), (4, 15), (35, 15)):
        assert close_to(pixels.getpixel(white), WHITE)


def test_a_heic_is_turned_by_its_container_and_not_by_its_exif_as_well(tmp_path):
    import pillow_heif

    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    path = saved(corner(), tmp_path / "a.heic", exif=exif)
    pixels = decoded(path)
    assert pixels.size == (40, 20)
    assert close_to(pixels.getpixel((4, 4)), RED)


def test_nonsense_in_place_of_an_orientation_is_none(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 77
    path = saved(corner(), tmp_path / "a.png", exif=exif)
    with pictures.opened(image_event(path), 80) as image:
        assert pictures.orientation(image) == 1


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif"])
@pytest.mark.parametrize("shorter", [10, 64, 100, 333, 500])
def test_a_large_picture_comes_down_but_never_below_what_is_needed(tmp_path, name, shorter):
    pixels = decoded(saved(corner((1500, 1000)), tmp_path / name), shorter)
    assert shorter <= min(pixels.size) < 2 * shorter
    assert pixels.width / pixels.height == pytest.approx(1.5, abs=0.1)
    assert close_to(pixels.getpixel((1, 1)), RED)


def test_a_small_picture_is_not_made_larger(tmp_path):
    assert decoded(saved(corner(), tmp_path / "a.png"), 100).size == (40, 20)


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, BLUE, WHITE)]
    path = saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pictures.opened(image_event(path), 80) as image:
        assert pictures.frame_count(image, 500) == 3
        assert pictures.decoded(image, 64).getpixel((0, 0)) == RED


def test_the_frames_of_a_long_animation_are_counted_without_decoding_them(tmp_path):
    path = tmp_path / "a.gif"
    path.write_bytes(gif(8000, 8000, frames=2001))  # decoded, each would be 64 megapixels
    with pictures.opened(image_event(path), 80) as image:
        assert pictures.frame_count(image, 500) == 2001


@pytest.mark.parametrize(("at_most", "counted"), [(500, 30), (30, 30), (10, 10), (1, 1)])
def test_the_pages_of_a_tiff_are_counted_up_to_a_limit(tmp_path, at_most, counted):
    pages = [Image.new("RGB", (8, 8), RED)] + [Image.new("L", (4, 4))] * 29
    path = saved(pages[0], tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pictures.opened(image_event(path), 80) as image:
        assert pictures.frame_count(image, at_most) == counted
        assert image.size == (8, 8)
        assert pictures.decoded(image, 64).getpixel((0, 0)) == RED


@pytest.mark.parametrize(
    ("content", "media_type", "said"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml", "An SVG is a drawing"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "application/postscript", "No format"),
        (b"no picture at all", "text/plain", "the content looks like text/plain"),
        (b"", "", "No format"),
        (bytes(5000), "image/x-tga", "No format"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(tmp_path, content, media_type, said):
    path = tmp_path / "a"
    path.write_bytes(content)
    assert said in refusal(path, media_type)


def test_a_picture_that_was_cut_short_is_refused_in_a_sentence(tmp_path):
    path = saved(corner((200, 200)), tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-300])
    said = refusal(path)
    assert said.startswith("The picture cannot be decoded: image file is truncated")
    assert said.endswith("The file is damaged or incomplete: send a good copy.")


def test_content_that_went_away_is_a_verdict(tmp_path):
    event = image_event(saved(corner(), tmp_path / "a.png"))
    event.path.unlink()
    with pytest.raises(BadInput, match="no longer there"), pictures.opened(event, 80):
        pass


def test_a_fault_of_the_machine_is_no_verdict_on_the_picture(tmp_path):
    with pytest.raises(IsADirectoryError), pictures.opened(image_event(tmp_path), 80):
        pass


@pytest.mark.parametrize("number", [None, errno.EINVAL, errno.EOVERFLOW])
def test_an_offset_that_the_content_made_up_is_a_fault_of_the_content(number):
    with pytest.raises(BadInput), pictures.content_at_fault():
        raise OSError(number, "Invalid argument") if number else OSError("broken data stream")


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOMEM])
def test_a_failing_disk_is_no_fault_of_the_content(number):
    with pytest.raises(OSError, match="failed") as caught, pictures.content_at_fault():
        raise OSError(number, "failed")
    assert caught.value.errno == number


def encoded(kind: str) -> bytes:
    import pillow_heif

    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    options = {"exif": exif} if kind in ("JPEG", "PNG", "TIFF", "WEBP", "AVIF") else {}
    Image.effect_noise((60, 40), 80).convert("RGB").save(file, kind, **options)
    return file.getvalue()


ENCODED = {
    kind: encoded(kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "HEIF")
}


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_picture_is_decoded_or_refused_and_nothing_else(tmp_path, data):
    content = bytearray(ENCODED[data.draw(st.sampled_from(sorted(ENCODED)))])
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    for _ in range(data.draw(st.integers(0, 4))):
        near = data.draw(st.sampled_from([64, 400, len(content)]))
        content[data.draw(st.integers(0, min(near, len(content)) - 1))] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged"
    path.write_bytes(content)
    try:
        with pictures.opened(image_event(path), 80) as image:
            assert pictures.frame_count(image, 50) >= 1
            assert min(pictures.upright_size(image)) >= 1
            assert pictures.decoded(image, 64).mode == "RGB"
    except BadInput as error:
        said = str(error)
    else:
        said = ""
    assert said.isprintable()


@pytest.mark.parametrize("size", [(5000, 10), (10, 5000), (40, 20), (1, 1), (160, 10)])
def test_of_a_strip_the_middle_stays(size):
    image = Image.new("RGB", size, WHITE)
    image.putpixel((size[0] // 2, size[1] // 2), RED)
    cut = pictures.middle(image, 16)
    assert max(cut.size) <= 16 * min(cut.size)
    assert cut.getpixel((cut.width // 2, cut.height // 2)) == RED
    assert min(cut.size) == min(size)
