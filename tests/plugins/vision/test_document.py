"""Documents give their text and their pictures by page, read nothing else, and say what was left out."""

from __future__ import annotations

import json
from pathlib import Path

import cairosvg
import pypdfium2
import pytest
from PIL import Image, ImageDraw, ImageFont

from hooks import Context, Derived, Device, Document, DocumentInfo, Failure
from hooks import Image as ImageEvent
from plugins.vision import document
from plugins.vision.document import DocumentSettings
from tests.end_to_end.host_process import Place, run_once
from tests.plugin_kit import BUILT_IN_OFF
from tests.worker_client import image_event

NONE = Device(name="light", kind="none", memory_mb=0)

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


def written_page(text: str) -> bytes:
    """A PDF of one page with a text of its own."""
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="400" height="200"><text x="20" y="60">{text}</text></svg>'
    return bytes(cairosvg.svg2pdf(bytestring=svg.encode()))


def scan(text: str, size: tuple[int, int] = (800, 400)) -> Image.Image:
    """A page that is a picture."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).text((60, 120), text, fill="black", font=ImageFont.load_default(64))
    return image


def bound(path: Path, *pages: str | Image.Image) -> Path:
    """A PDF of written and of scanned pages."""
    whole = pypdfium2.PdfDocument.new()
    for number, page in enumerate(pages):
        single = path.with_suffix(f".{number}.pdf")
        single.write_bytes(written_page(page)) if isinstance(page, str) else page.save(single)
        whole.import_pages(pypdfium2.PdfDocument(single))
        single.unlink()
    whole.save(path)
    return path


def taken(path: Path, scratch: Path, kind: type = Document, media_type: str = "application/pdf", **settings) -> list:
    told = image_event(path).model_dump(exclude={"kind"}) | {"media_type": media_type}
    hook = document.on_document if kind is Document else document.on_image
    context = Context(device=NONE, scratch=scratch, report=lambda *_: None)
    return list(hook([kind.model_validate(told)], DocumentSettings(**settings), context))


def parts(found: list) -> list[tuple[str, object]]:
    return [(one.role, one.metadata.get("page")) for one in found if isinstance(one, Derived)]


def info(found: list) -> DocumentInfo:
    [result] = [one.data for one in found if not isinstance(one, Derived)]
    return result


def failure(found: list) -> str:
    [one] = found
    assert isinstance(one, Failure)
    return one.reason


def test_written_pages_are_text_and_scanned_ones_pictures(tmp_path):
    file = bound(
        tmp_path / "letter.pdf", "Dear neighbour, the lift is broken", scan("SIGNED"), "Kind regards, the house"
    )
    found = taken(file, tmp_path / "scratch")
    assert parts(found) == [("page", 2), ("text", None)]
    text = next(one.path for one in found if isinstance(one, Derived) and one.role == "text").read_text()
    assert [page.strip() for page in text.split("\f")] == [
        "Dear neighbour, the lift is broken",
        "",
        "Kind regards, the house",
        "",
    ]
    assert (info(found).pages, info(found).pages_with_text, info(found).problems) == (3, 2, ())


def test_all_pages_or_none_become_pictures_where_the_settings_say_so(tmp_path):
    file = bound(tmp_path / "letter.pdf", "Dear neighbour, the lift is broken", scan("SIGNED"))
    assert parts(taken(file, tmp_path / "all", pictures="all")) == [("page", 1), ("page", 2), ("text", None)]
    assert parts(taken(file, tmp_path / "none", pictures="none")) == [("text", None)]


def test_a_drawn_page_is_no_larger_than_the_settings_say(tmp_path):
    found = taken(bound(tmp_path / "scan.pdf", scan("x", (3000, 200))), tmp_path / "scratch", page_side=500)
    with Image.open(found[0].path) as picture:
        assert max(picture.size) == 500


def test_of_ten_thousand_pages_the_first_are_read_and_the_rest_is_said_to_be_left_out(tmp_path):
    whole = pypdfium2.PdfDocument.new()
    for _ in range(10_000):
        whole.new_page(200, 200)
    whole.save(tmp_path / "long.pdf")
    found = taken(tmp_path / "long.pdf", tmp_path / "scratch", max_pages=3)
    assert parts(found) == [("page", 1), ("page", 2), ("page", 3)]
    assert info(found).pages == 10_000
    assert info(found).problems == (
        "It has 10000 pages; the first 3 were read. max_pages in [plugins.document] says how many.",
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"%PDF-1.7\n%%EOF\n", "The PDF cannot be opened"),
        (b"%PDF-1.4\n" + bytes(range(256)) * 40, "The PDF cannot be opened"),
    ],
    ids=["empty", "garbage"],
)
def test_a_damaged_pdf_is_refused_with_the_reason(tmp_path, content, said):
    (tmp_path / "broken.pdf").write_bytes(content)
    assert said in failure(taken(tmp_path / "broken.pdf", tmp_path / "scratch"))


def test_a_pdf_that_is_cut_off_gives_what_is_left_or_the_reason(tmp_path):
    content = bound(tmp_path / "whole.pdf", "Dear neighbour, the lift is broken").read_bytes()
    for end in range(100, len(content), len(content) // 12):
        (tmp_path / "cut.pdf").write_bytes(content[:end])
        for one in taken(tmp_path / "cut.pdf", tmp_path / "scratch"):
            assert isinstance(one, Derived) or one.event_id
            if isinstance(one, Failure):
                assert one.reason.startswith("The PDF")


def test_another_kind_of_document_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "a.docx").write_bytes(b"PK")
    assert "Export it as PDF" in failure(taken(tmp_path / "a.docx", tmp_path / "s", media_type="application/msword"))


def test_the_further_pages_of_a_tiff_become_pictures(tmp_path):
    scan("one").save(tmp_path / "fax.tiff", save_all=True, append_images=[scan("two"), scan("three")])
    found = taken(tmp_path / "fax.tiff", tmp_path / "scratch", ImageEvent, "image/tiff")
    assert parts(found) == [("page", 2), ("page", 3)]
    assert info(found).pages == 3


def test_a_drawing_becomes_a_picture_on_white(tmp_path):
    half = '<rect width="100" height="100" fill="red"/>'
    (tmp_path / "d.svg").write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 100">{half}</svg>')
    [one] = taken(tmp_path / "d.svg", tmp_path / "s", ImageEvent, "image/svg+xml", page_side=400)
    with Image.open(one.path) as picture:
        assert picture.size == (400, 200)
        assert picture.convert("RGB").getpixel((50, 50)) == (255, 0, 0)
        assert picture.convert("RGB").getpixel((350, 50)) == (255, 255, 255)


SECRET = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="90" height="90">{}</svg>'
)
ENTITIES = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))


@pytest.mark.parametrize(
    "content",
    [
        SECRET.format('<image width="90" height="90" xlink:href="file://{there}"/>'),
        SECRET.format('<image width="90" height="90" xlink:href="{there}"/>'),
        SECRET.format('<use xlink:href="file://{there}#x"/>'),
        '<!DOCTYPE svg [<!ENTITY e SYSTEM "file://{there}">]>' + SECRET.format("<text y='40'>&e;</text>"),
        f'<!DOCTYPE svg [<!ENTITY a "aaaaaaaaaa">{ENTITIES}]>' + SECRET.format("<text y='40'>&i;</text>"),
    ],
    ids=["file", "path", "use", "entity", "many entities"],
)
def test_a_drawing_that_names_other_files_or_grows_shows_nothing_of_them(tmp_path, content):
    Image.new("RGB", (90, 90), "red").save(tmp_path / "secret.png")
    (tmp_path / "d.svg").write_text(content.replace("{there}", str(tmp_path / "secret.png")))
    [one] = taken(tmp_path / "d.svg", tmp_path / "s", ImageEvent, "image/svg+xml", time_limit=20)
    if isinstance(one, Derived):
        with Image.open(one.path) as picture:
            assert {color for _, color in picture.convert("RGB").getcolors()} == {(255, 255, 255)}
    else:
        assert one.reason.startswith("The SVG cannot be drawn")


def test_a_drawing_that_never_ends_is_given_up(tmp_path):
    levels = ['<g id="a0"><rect width="1" height="1"/></g>']
    levels += ['<g id="a{}">{}</g>'.format(n, f'<use xlink:href="#a{n - 1}"/>' * 9) for n in range(1, 12)]
    deep = "".join(levels)
    (tmp_path / "d.svg").write_text(SECRET.format(deep))
    found = taken(tmp_path / "d.svg", tmp_path / "s", ImageEvent, "image/svg+xml", time_limit=4)
    assert failure(found).startswith(("Drawing it takes too long", "The SVG cannot be drawn"))


def test_a_document_is_one_result_with_the_words_of_written_and_of_scanned_pages(tmp_path):
    place = Place(tmp_path, plugins={**BUILT_IN_OFF, "document": {}, "pages": {}, "ocr": {}})
    bound(place.inbox / "letter.pdf", "Dear neighbour, the lift is broken", scan("SIGNED 4711"))
    (place.inbox / "odd.pdf").write_bytes(b"%PDF-1.7\n%%EOF\n")
    assert run_once(place) == 0
    results = json.loads((place.outbox / "letter.pdf.json").read_bytes())["results"]
    told = {result["type"]: result["data"] for result in results}
    assert told["document_info"]["pages"] == 2
    assert told["document_text"]["pages"] == [
        {"page": 1, "text": "Dear neighbour, the lift is broken", "source": "document"},
        {"page": 2, "text": "SIGNED 4711", "source": "picture"},
    ]
    assert place.rows("SELECT body FROM passages WHERE passages MATCH 'neighbour'")
    assert "cannot be opened" in (place.outbox / "odd.pdf.json").read_text()
