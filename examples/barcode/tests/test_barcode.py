"""Codes that are drawn here are read back."""

import zxingcpp
from PIL import Image

from hooks.testing import run_plugin


def drawn(path, text, form="QRCode", angle=0):
    """A picture of a code, on white, turned."""
    code = zxingcpp.write_barcode_to_image(
        zxingcpp.create_barcode(text, getattr(zxingcpp.BarcodeFormat, form)), scale=4
    )
    picture = Image.new("L", (600, 600), "white")
    picture.paste(Image.fromarray(code), (120, 120))
    picture.rotate(angle, fillcolor="white").save(path)
    return path


def test_codes_are_read_with_text_format_and_place(tmp_path, events):
    pictures = [
        drawn(tmp_path / "qr.png", "https://example.org/ü"),
        drawn(tmp_path / "turned.png", "turned", angle=20),
        drawn(tmp_path / "ean.png", "4006381333931", form="EAN13"),
        events.image(),
    ]
    qr, turned, ean, nothing = run_plugin("barcode", *pictures).of_type("barcodes")
    assert (qr["text"], qr["codes"][0]["format"]) == ("https://example.org/ü", "QRCode")
    assert (ean["text"], ean["codes"][0]["format"]) == ("4006381333931", "EAN13")
    assert turned["text"] == "turned"
    assert all(120 <= number <= 300 for corner in qr["codes"][0]["corners"] for number in corner)
    assert nothing == {"text": "", "codes": []}


def test_what_is_too_large_or_broken_is_refused_with_a_reason(events, tmp_path):
    torn = events.image(content=b"\x89PNG\r\n\x1a\nno more")
    large = events.of_file(drawn(tmp_path / "large.png", "x"))
    Image.new("L", (2000, 1000)).save(tmp_path / "large.png")
    failures = run_plugin("barcode", torn, large, settings={"megapixels": 1}).failures
    assert failures[torn.id].startswith("It cannot be opened:")
    assert failures[large.id] == "It has more than 1 megapixels."


def test_in_a_host_a_code_is_found_by_what_it_says(host, tmp_path):
    host.use("barcode", most=3)
    host.drop(drawn(tmp_path / "parcel.png", "parcel 4711"))
    (sidecar,) = host.run().values()
    assert sidecar["results"][0]["data"]["text"] == "parcel 4711"
    assert "parcel.png" in host.command("search", "4711", "--words").stdout
