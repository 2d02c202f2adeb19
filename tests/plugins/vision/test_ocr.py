"""What is written in a picture is read, with where it stands; what is not there is not made up."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from hooks import Device, Failure, ModelUnavailable, PictureText
from plugins.vision import ocr
from plugins.vision.ocr import OcrSettings
from tests.end_to_end.host_process import Place, run_once
from tests.plugin_kit import BUILT_IN_OFF
from tests.worker_client import image_event

CPU = Device(name="cpu", kind="cpu", memory_mb=4000, threads=2)

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


@pytest.fixture(scope="module")
def reader() -> ocr.Reader:
    return ocr.load(CPU, OcrSettings())


def sign(*lines: str, size: tuple[int, int] = (640, 240)) -> Image.Image:
    """Dark letters on a pale ground, a line every 100 pixels from (40, 40) on."""
    image = Image.new("RGB", size, (240, 240, 225))
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((40, 40 + 100 * number), line, fill=(20, 20, 60), font=ImageFont.load_default(44))
    return image


def read(picture: Image.Image, reader, folder: Path, **options) -> PictureText:
    path = folder / "picture.png"
    picture.save(path, **options)
    [found] = ocr.on_image([image_event(path)], reader, OcrSettings())
    return found.data


def test_lines_are_read_in_order_with_how_sure_it_is_and_where_they_stand(reader, tmp_path):
    found = read(sign("Platform 9", "to London"), reader, tmp_path)
    assert found.text == "Platform 9\nto London"
    first, second = found.lines
    assert (first.text, second.text) == ("Platform 9", "to London")
    assert min(first.confidence, second.confidence) > 0.8
    left, top, right, bottom = first.box
    assert (abs(left - 40), abs(top - 45)) < (15, 15)
    assert right > left + 150
    assert bottom < second.box[1]


def test_a_picture_on_its_side_is_read_upright(reader, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it by a quarter
    found = read(sign("Platform 9").rotate(90, expand=True), reader, tmp_path, exif=exif)
    assert found.text == "Platform 9"
    left, top, right, bottom = found.lines[0].box
    assert right - left > bottom - top


def test_boxes_of_a_large_picture_are_in_its_own_pixels(reader, tmp_path):
    large = sign("Platform 9").resize((4800, 1800))
    left, top, _, _ = read(large, reader, tmp_path).lines[0].box
    assert abs(left - 300) < 80
    assert abs(top - 340) < 80


def test_nothing_is_read_where_nothing_is_written(reader, tmp_path):
    plain = read(Image.new("RGB", (200, 160), "green"), reader, tmp_path)
    assert (plain.text, plain.lines) == ("", ())


def test_numbers_on_cards_are_read_nineteen_times_of_twenty(reader, tmp_path):
    rng = random.Random(7)
    right = 0
    for _ in range(20):
        number = str(rng.randrange(10, 9999))
        card = Image.new("RGB", (200, 140), tuple(rng.randrange(40, 160) for _ in range(3)))
        draw = ImageDraw.Draw(card)
        draw.rectangle((40, 30, 160, 100), fill=(250, 250, 235))
        draw.text((100, 65), number, fill="black", font=ImageFont.load_default(44), anchor="mm")
        right += read(card, reader, tmp_path).text == number
    assert right >= 19


def test_a_broken_picture_fails_by_itself(reader, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    sign("Platform 9").save(good)
    bad.write_bytes(good.read_bytes()[:200])
    first, second = ocr.on_image([image_event(bad), image_event(good)], reader, OcrSettings())
    assert isinstance(first, Failure)
    assert second.data.text == "Platform 9"


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"letters\.onnx is not there"):
        ocr.load(CPU, OcrSettings(recognition=tmp_path / "letters.onnx"))


def test_what_is_written_in_a_picture_is_found_by_its_words(tmp_path):
    place = Place(tmp_path, plugins={**BUILT_IN_OFF, "ocr": {}})
    sign("Platform 9", "to London").save(place.inbox / "sign.png")
    sign("Waiting room").save(place.inbox / "door.png")
    assert run_once(place) == 0
    sidecar = json.loads((place.outbox / "sign.png.json").read_bytes())
    assert [result["type"] for result in sidecar["results"]] == ["picture_text"]
    [hit] = place.rows("SELECT body FROM passages WHERE passages MATCH 'london'")
    assert hit["body"] == "Platform 9\nto London"
