"""What is said of a picture without a model is right, small, and private where it should be."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw
from PIL.TiffImagePlugin import IFDRational
from pydantic import ValidationError

from hooks import Failure, ImageInfo, Thumbnail
from hooks.testing import samples
from plugins.vision import exif, metadata
from plugins.vision.metadata import MetadataSettings
from tests.worker_client import WorkerClient, image_event

RED = (255, 0, 0)

# A worker hushes Pillow once and for all; pytest brings the warnings back for each test.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def drawing(size: tuple[int, int] = (640, 480), shift: float = 0.0) -> Image.Image:
    """A red disc and a dark bar on a pale ground: few colours, clear shapes."""
    image = Image.new("RGB", size, (230, 240, 250))
    draw = ImageDraw.Draw(image)
    width, height = size
    left = (0.1 + shift) * width
    draw.ellipse((left, 0.2 * height, left + 0.3 * width, 0.6 * height), fill=RED)
    draw.rectangle((0, 0.8 * height, width, 0.9 * height), fill=(20, 40, 60))
    return image


def saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def described(path: Path, **settings) -> tuple[ImageInfo, Thumbnail]:
    info, thumbnail = metadata.on_image([image_event(path)], MetadataSettings(**settings))
    return info.data, thumbnail.data


def hash_of(path: Path) -> int:
    return int(described(path)[0].perceptual_hash, 16)


def camera_exif() -> Image.Exif:
    """What a camera writes, with its owner's name, its serial number and the place."""
    tags = Image.Exif()
    tags[0x010F], tags[0x0110] = "Maker\0\0", " Model\n7 "
    tags[0x013B], tags[0xC62F], tags[0x0112] = "The Owner", "SERIAL", 6
    tags.get_ifd(exif.EXIF_IFD).update(
        {0x829A: 0.004, 0x829D: 2.8, 0x8827: 200, 0x9003: "2026:11:20 10:00:00", 0xA430: "The Owner", 0xA431: "SERIAL"}
    )
    tags.get_ifd(exif.GPS_IFD).update({1: "S", 2: (33.0, 30.0, 36.0), 3: "E", 4: (151.0, 15.0, 0.0), 6: 12.5})
    return tags


def test_a_picture_gives_what_is_known_of_it_and_a_thumbnail(tmp_path):
    info, thumbnail = described(saved(drawing(), tmp_path / "a.png"))
    assert (info.width, info.height, info.format, info.mode) == (640, 480, "PNG", "RGB")
    assert (info.frames, info.orientation, info.exif) == (1, 1, {})
    assert (thumbnail.media_type, thumbnail.width, thumbnail.height) == ("image/jpeg", 320, 240)


def test_size_and_thumbnail_are_upright(tmp_path):
    info, thumbnail = described(saved(drawing(), tmp_path / "a.jpg", exif=camera_exif()))
    assert (info.width, info.height, info.orientation) == (480, 640, 6)
    assert (thumbnail.width, thumbnail.height) == (240, 320)


@pytest.mark.parametrize(("kind", "side"), [("jpeg", 100), ("webp", 320)])
def test_a_thumbnail_is_a_picture_of_its_own_without_metadata(tmp_path, kind, side):
    path = saved(drawing(), tmp_path / "a.jpg", exif=camera_exif())
    _, thumbnail = described(path, thumbnail_format=kind, thumbnail_side=side)
    assert thumbnail.media_type == f"image/{kind}"
    with Image.open(io.BytesIO(thumbnail.content)) as image:
        assert image.format == kind.upper()
        assert image.size == (thumbnail.width, thumbnail.height)
        assert max(image.size) == side
        assert not image.getexif()


def test_a_thumbnail_is_never_larger_than_its_picture(tmp_path):
    _, thumbnail = described(saved(drawing((40, 30)), tmp_path / "a.png"))
    assert (thumbnail.width, thumbnail.height) == (40, 30)


def test_a_strip_has_a_thumbnail_too(tmp_path):
    _, thumbnail = described(saved(Image.new("RGB", (20_000, 1)), tmp_path / "a.png"))
    assert (thumbnail.width, thumbnail.height) == (320, 1)


def test_dominant_colours_come_with_their_shares_largest_first(tmp_path):
    image = Image.new("RGB", (100, 100), (0, 128, 255))
    image.paste(RED, (0, 0, 100, 30))
    info, _ = described(saved(image, tmp_path / "a.png"))
    assert [(color.hex, color.share) for color in info.dominant_colors] == [("#0080ff", 0.7), ("#ff0000", 0.3)]


def test_colours_that_look_alike_are_one(tmp_path):
    info, _ = described(saved(drawing(), tmp_path / "a.jpg", quality=60))
    assert [color.share for color in info.dominant_colors[:3]] == pytest.approx([0.81, 0.1, 0.09], abs=0.03)
    shares = [color.share for color in info.dominant_colors]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) <= 1.001


def test_of_colours_that_look_alike_the_one_that_covers_more_is_named(tmp_path):
    image = Image.new("RGB", (100, 100), (200, 0, 0))
    image.paste((200, 20, 0), (0, 0, 100, 40))
    info, _ = described(saved(image, tmp_path / "a.png"))
    assert [(color.hex, color.share) for color in info.dominant_colors] == [("#c80000", 1.0)]


def test_no_more_colours_are_told_than_were_asked_for(tmp_path):
    path = saved(Image.effect_mandelbrot((200, 200), (-2, -1.5, 1, 1.5), 60).convert("RGB"), tmp_path / "a.png")
    assert len(described(path, colors=2)[0].dominant_colors) <= 2


def test_near_copies_have_near_hashes(tmp_path):
    original = hash_of(saved(drawing(), tmp_path / "a.png"))
    smaller = hash_of(saved(drawing().resize((200, 150)), tmp_path / "b.png"))
    worse = hash_of(saved(drawing(), tmp_path / "c.jpg", quality=30))
    assert (original ^ smaller).bit_count() <= 4
    assert (original ^ worse).bit_count() <= 4


def test_other_pictures_have_other_hashes(tmp_path):
    original = hash_of(saved(drawing(), tmp_path / "a.png"))
    moved = hash_of(saved(drawing(shift=0.5), tmp_path / "b.png"))
    turned = hash_of(saved(drawing().rotate(90, expand=True), tmp_path / "c.png"))
    assert (original ^ moved).bit_count() > 12
    assert (original ^ turned).bit_count() > 12


def test_a_hash_is_the_sign_of_the_lowest_frequencies_against_their_median():
    image = Image.effect_noise((32, 32), 90).convert("RGB")
    grey = image.convert("L")

    def frequency(u: int, v: int) -> float:
        return sum(
            grey.getpixel((x, y)) * math.cos(math.pi * (2 * y + 1) * u / 64) * math.cos(math.pi * (2 * x + 1) * v / 64)
            for x in range(32)
            for y in range(32)
        )

    frequencies = [frequency(u, v) for u in range(8) for v in range(8)]
    middle = sum(sorted(frequencies)[31:33]) / 2
    bits = "".join("1" if value > middle else "0" for value in frequencies)
    assert metadata.perceptual_hash(image) == f"{int(bits, 2):016x}"


def test_selected_exif_is_told_as_plain_values(tmp_path):
    info, _ = described(saved(drawing(), tmp_path / "a.jpg", exif=camera_exif()))
    assert info.exif == {
        "Make": "Maker",
        "Model": "Model7",
        "ExposureTime": 0.004,
        "FNumber": 2.8,
        "ISOSpeedRatings": 200,
        "DateTimeOriginal": "2026:11:20 10:00:00",
    }


def test_the_place_is_told_only_on_request(tmp_path):
    path = saved(drawing(), tmp_path / "a.jpg", exif=camera_exif())
    assert not [name for name in described(path)[0].exif if name.startswith("GPS")]
    place = {name: value for name, value in described(path, gps=True)[0].exif.items() if name.startswith("GPS")}
    assert place == {"GPSLatitude": -33.51, "GPSLongitude": 151.25, "GPSAltitude": 12.5}


def test_undefined_numbers_of_exif_are_left_out(tmp_path):
    tags = Image.Exif()
    tags[0x010F] = "Maker"
    tags.get_ifd(exif.EXIF_IFD)[0x829D] = IFDRational(0, 0)
    info, _ = described(saved(drawing(), tmp_path / "a.jpg", exif=tags))
    assert info.exif == {"Make": "Maker"}


def test_a_broken_exif_part_does_not_spoil_the_picture(tmp_path):
    info, _ = described(saved(drawing(), tmp_path / "a.png", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40))
    assert (info.width, info.orientation) == (640, 1)


def test_everything_that_is_said_is_strict_json(tmp_path):
    info, _ = described(saved(drawing(), tmp_path / "a.jpg", exif=camera_exif()), gps=True)
    said, blob = info.split()
    assert json.loads(json.dumps(said, allow_nan=False)) == said
    assert blob is None


def test_an_animation_of_2001_frames_is_described_by_its_first(tmp_path):
    frames = [Image.new("RGB", (30, 20), (255 - index % 250, 0, 0)) for index in range(2001)]
    path = saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    info, _ = described(path)
    assert info.frames == 2001
    assert info.dominant_colors[0].hex == "#ff0000"


def test_a_broken_picture_spoils_none_of_its_batch(tmp_path):
    good = saved(drawing(), tmp_path / "good.png")
    broken = tmp_path / "broken.png"
    broken.write_bytes(good.read_bytes()[:200])
    events = [image_event(path) for path in (good, broken, good)]
    findings = list(metadata.on_image(events, MetadataSettings()))
    assert [type(finding) for finding in findings].count(Failure) == 1
    assert [finding.event_id for finding in findings] == ["good.png"] * 2 + ["broken.png"] + ["good.png"] * 2
    assert "cannot be decoded" in findings[2].reason


def test_a_png_whose_pixels_are_noise_is_refused_and_not_described_by_what_is_left_of_it(tmp_path):
    path = tmp_path / "noise.png"
    path.write_bytes(samples.broken("image"))
    (verdict,) = metadata.on_image([image_event(path)], MetadataSettings())
    assert isinstance(verdict, Failure)
    assert "cannot be decoded" in verdict.reason


def test_an_unknown_setting_is_refused():
    with pytest.raises(ValidationError, match="thumbnails"):
        MetadataSettings(thumbnails=1)


def test_every_setting_is_explained():
    assert all(field.description for field in MetadataSettings.model_fields.values())


def test_no_lease_is_asked_for():
    assert metadata.model_spec(MetadataSettings()).device == "none"


def test_the_host_side_imports_nothing_heavy():
    child = """
import sys
from plugins.vision import metadata
metadata.model_spec(metadata.settings_class()())
print(*sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout
    assert not {"PIL", "numpy", "torch"} & set(said.split())


def test_a_worker_describes_pictures(tmp_path):
    events = [image_event(saved(drawing(), tmp_path / "a.png")), image_event(saved(drawing(), tmp_path / "b.jpg"))]
    with WorkerClient.started() as client:
        assert client.load("plugins.vision.metadata", {"thumbnail_side": 64}).op == "loaded"
        *answers, done = client.run(events)
        assert client.unload() == 0
    assert [(answer.op, answer.body["type"]) for answer in answers] == [
        ("result", "image_info"),
        ("result", "thumbnail"),
    ] * 2
    assert answers[2].body["data"]["format"] == "JPEG"
    assert Image.open(io.BytesIO(answers[1].blobs[0])).size == (64, 48)
    assert done.op == "done"
