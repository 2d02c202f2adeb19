"""What a content is: told from its bytes, by its name only among kinds of text."""

from __future__ import annotations

import io
import wave
import zipfile

import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from host.identify import HEAD, identify

SVG = ("image", "image/svg+xml")
TEXT = ("text", "text/plain")
JSON = ("data", "application/json")
CSV = ("data", "text/csv")


def encoded(format_name: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, format_name)
    return file.getvalue()


def heic() -> bytes:
    file = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 64), "red")).save(file)
    return file.getvalue()


def wav() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(800))
    return file.getvalue()


def docx() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("[Content_Types].xml", "_rels/.rels", "docProps/app.xml", "word/document.xml"):
            archive.writestr(name, "<xml/>")
    return file.getvalue()


@pytest.mark.parametrize(
    ("format_name", "media_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
        ("TIFF", "image/tiff"),
        ("WEBP", "image/webp"),
    ],
)
def test_a_picture_is_one_whatever_its_name(format_name, media_type):
    for name in ("picture", "letter.txt", "table.csv", "film.mp4"):
        assert identify(encoded(format_name)[:HEAD], name) == ("image", media_type)


def test_heic_is_a_picture_and_no_film():
    assert identify(heic()[:HEAD], "IMG_0001.HEIC") == ("image", "image/heic")


def test_sound_film_and_documents_are_told_apart():
    assert identify(wav()[:HEAD], "x") == ("audio", "audio/x-wav")
    assert identify(b"ID3\x03\x00\x00\x00\x00\x00\x00" + bytes(100), "x") == ("audio", "audio/mpeg")
    assert identify(b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(100), "x") == ("video", "video/mp4")
    assert identify(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "x.txt") == ("document", "application/pdf")
    assert identify(rb"{\rtf1\ansi Hello}", "x.txt") == ("document", "application/rtf")


def test_a_word_file_is_a_document_and_another_archive_is_nothing():
    kind, media_type = identify(docx()[:HEAD], "x.docx") or ("", "")
    assert kind == "document"
    assert "wordprocessingml" in media_type
    plain = io.BytesIO()
    with zipfile.ZipFile(plain, "w") as archive:
        archive.writestr("readme", "hello")
    assert identify(plain.getvalue()[:HEAD], "x.docx") is None


@pytest.mark.parametrize(
    "prologue",
    [
        b"",
        b"\n  ",
        b"\xef\xbb\xbf",
        b'<?xml version="1.0" encoding="UTF-8"?>\n',
        b"<!-- made by hand -->\n",
        b'<?xml version="1.0"?>\n<!-- one --><!-- two -->\n',
        b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "svg11.dtd">\n',
        b'<!DOCTYPE svg [ <!ENTITY ns "http://example.org/"> ]>\n<!-- after -->\n',
    ],
)
def test_svg_is_a_picture_after_any_prologue(prologue):
    assert identify(prologue + b'<svg xmlns="http://www.w3.org/2000/svg"/>', "drawing.txt") == SVG


def test_text_about_svg_is_text():
    assert identify(b"The tag <svg> opens a drawing.", "x") == TEXT
    assert identify(b"<!-- <svg> --> is a comment", "x") == TEXT
    assert identify(b"<svgfoo>", "x") == TEXT


@pytest.mark.parametrize(
    "hostile", [b"<!---->", b"<!--", b" ", b"<?xml", b"<!DOCTYPE svg [", b"{", b"[", b'"', b"\xff\xd8"]
)
@pytest.mark.timeout(20)  # it would be hours where an expression backtracks
def test_a_hostile_head_has_an_answer_too(hostile):
    found = identify((hostile * HEAD)[: HEAD - 1] + b"x", "x")
    assert found is None or found[1] in ("text/plain", "application/json", "image/jpeg")


def test_among_kinds_of_text_the_name_decides():
    content = b"one, two\nthree, four\n"
    assert identify(content, "x.md") == ("text", "text/markdown")
    assert identify(content, "x.HTML") == ("text", "text/html")
    assert identify(content, "x.csv") == CSV
    assert identify(content, "x.tsv") == ("data", "text/tab-separated-values")
    assert identify(content, "x.jsonl") == ("data", "application/jsonl")
    assert identify(content, "x.yml") == ("data", "application/yaml")
    assert identify(content, "x.srt") == ("text", "application/x-subrip")
    assert identify(content, "x") == TEXT


def test_a_name_never_makes_text_of_bytes_nor_bytes_of_text():
    assert identify(b"\x00\x01\x02\x03" * 100, "x.txt") is None
    assert identify(b"just words", "x.png") == TEXT


def test_json_and_tables_are_known_without_a_name():
    assert identify(b'{"a": [1, 2]}', "x") == JSON
    assert identify(b"\xef\xbb\xbf[1, 2, 3]\n", "x") == JSON
    assert identify(b"{not json}", "x") == TEXT
    assert identify(b"a;b,c,d\n1,2,3\n4,5,6\n7,8,9\n", "x") == CSV
    assert identify(b"Dear all,\nas said, it is, well, late.\nBye\n", "x") == TEXT


def test_json_that_goes_on_after_the_head_is_json():
    assert identify((b'{"a": "' + b"x" * HEAD)[:HEAD], "x") == JSON
    assert identify((b"[" * HEAD)[:HEAD], "x") == JSON
    assert identify((b"{ some words " * HEAD)[:HEAD], "x") == TEXT


def test_sentences_that_begin_like_a_file_format_are_sentences():
    for sentence in ("BMW builds cars.", "FLV is old.", "%!PS-Adobe is what it says.", "OTTO and friends", "wOFF"):
        assert identify(sentence.encode(), "x") == TEXT, sentence


def test_what_is_not_utf8_is_not_text():
    assert identify("Grüße".encode("latin-1"), "x.txt") is None
    assert identify("Grüße".encode("utf-16"), "x.txt") is None
    assert identify(b"\xff\xfe\xfd", "x.txt") is None


@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_a_character_cut_at_the_end_of_the_head_is_text(character):
    raw = character.encode()
    for kept in range(1, len(raw)):
        head = b"x" * (HEAD - kept) + raw[:kept]
        assert identify(head, "x.txt") == TEXT


def test_a_character_cut_at_the_end_of_a_short_file_is_not_text():
    assert identify(b"short \xe2\x82", "x.txt") is None


def test_control_characters_are_not_text():
    assert identify(b"a\x00b", "x.txt") is None
    assert identify(b"a\x1b[31mred\x1b[0m\tb\r\n", "x.txt") == TEXT


@given(st.binary(max_size=300), st.text(max_size=20))
def test_any_content_has_an_answer(head, name):
    found = identify(head, name)
    assert found is None or (found[0] in ("image", "audio", "video", "document", "text", "data") and "/" in found[1])


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1))
def test_text_is_never_taken_for_something_binary(text):
    found = identify(text.encode()[:HEAD], "x")
    assert found is not None
    assert found[0] in ("text", "data", "image", "document")
    if found[0] in ("image", "document"):  # formats that are text themselves
        assert text.lstrip("\ufeff \n").startswith(("<", "{\\rtf", "%PDF-", "GIF8"))
