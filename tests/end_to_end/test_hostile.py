"""Broken and hostile files: each gets a clear verdict, the host runs on, and the neighbours are worked off."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from host.app import open_app
from host.config import Config
from host.names import to_text
from host.views import Explanation
from tests.end_to_end.host_process import OFF, Place, host, run_once, said, stop, until

LONG = b"x" * 251 + b".txt"
NAMES = [b"new\nline.txt", b"quote\"'`$(x).txt", b"-rf", b"\xff\xfe\xfa.txt", LONG, b"back\\xffslash", b" "]


def picture(format_name: str) -> bytes:
    file = io.BytesIO()
    noise = Image.effect_noise((200, 150), 90).convert("RGB")
    noise.save(file, format_name)
    return file.getvalue()


def flipped(content: bytes, seed: int) -> bytes:
    """The content with one in two hundred of its bytes changed, its beginning left alone."""
    chance, broken = random.Random(seed), bytearray(content)
    for position in chance.sample(range(40, len(broken)), len(broken) // 200):
        broken[position] ^= 1 << chance.randrange(8)
    return bytes(broken)


def bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (13_000, 13_000)).save(file, "PNG", optimize=True)
    return file.getvalue()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An inbox for small files, worked by the real `metadata` plugin and one that measures everything."""
    place = Place(tmp_path / "place", {"max_size_mb": 64, "quiet": 0.05}, {"clip": OFF, "document": OFF})
    place.measure()
    return place


async def why(place: Place, path: Path) -> Explanation:
    """What `sensorium why` says of a file after the host has ended."""
    async with open_app(Config.model_validate(place.config()), read_only=True) as app:
        return await app.why(to_text(str(path)))


def sidecar(place: Place, name: str) -> dict[str, list[dict[str, str]]]:
    body = json.loads((place.outbox / f"{name}.json").read_bytes())
    assert isinstance(body, dict)
    return body


def neighbours_are_done(place: Place) -> None:
    """Good files that lay among the bad ones."""
    for number in range(3):
        assert {one["plugin"] for one in sidecar(place, f"good-{number}.png")["results"]} == {"measure", "metadata"}
        assert sidecar(place, f"good-{number}.png")["failures"] == []


def put_neighbours(place: Place) -> None:
    for number in range(3):
        (place.inbox / f"good-{number}.png").write_bytes(picture("PNG"))


async def test_broken_pictures_fail_with_a_reason_and_keep_what_others_found(place):
    put_neighbours(place)
    for name in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        content = picture(name)
        (place.inbox / f"cut.{name.lower()}").write_bytes(content[: len(content) // 3])
    (place.inbox / "header-only.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert run_once(place) == 0, place.last_log()
    neighbours_are_done(place)
    for name in ("cut.png", "cut.jpeg", "cut.webp", "cut.tiff", "header-only.png"):
        body = sidecar(place, name)
        assert [one["plugin"] for one in body["results"]] == ["measure"]
        [failure] = body["failures"]
        assert failure["plugin"] == "metadata"
        assert failure["message"].endswith(".")
        assert "Traceback" not in failure["message"]
        assert (place.outbox / "failed" / name).exists()
        assert (place.outbox / "failed" / f"{name}.error.json").exists()
        explanation = await why(place, place.inbox / name)
        assert explanation.state == "failed"
        assert failure["message"] in " ".join(explanation.sentences)
        assert "requeue" in " ".join(explanation.sentences)


async def test_pictures_with_flipped_bits_end_with_a_result_or_a_reason(place):
    put_neighbours(place)
    names = []
    for number in range(24):
        format_name = ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")[number % 6]
        names.append(f"flipped-{number}.{format_name.lower()}")
        (place.inbox / names[-1]).write_bytes(flipped(picture(format_name), number))
    assert run_once(place) == 0, place.last_log()
    neighbours_are_done(place)
    for name in names:
        body = sidecar(place, name)
        verdicts = {one["plugin"] for one in body["results"]} | {one["plugin"] for one in body["failures"]}
        assert verdicts == {"measure", "metadata"}
        assert (await why(place, place.inbox / name)).state in ("done", "failed")


async def test_a_decompression_bomb_is_refused_by_its_header(place):
    put_neighbours(place)
    content = bomb()
    assert len(content) < 40_000
    (place.inbox / "bomb.png").write_bytes(content)
    assert run_once(place) == 0, place.last_log()
    neighbours_are_done(place)
    [failure] = sidecar(place, "bomb.png")["failures"]
    assert "169.0 megapixels" in failure["message"]
    explanation = await why(place, place.inbox / "bomb.png")
    assert explanation.state == "failed"


def no_device(path: Path) -> None:
    """Only root makes devices; for others a second pipe takes its place."""
    if os.geteuid() == 0:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    else:
        os.mkfifo(path)


def listening(path: Path) -> None:
    where = os.getcwd()
    os.chdir(path.parent)  # a socket's whole path may have 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(where)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


TRAPS: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "a named pipe"),
    "dangling": (lambda path: path.symlink_to("nowhere"), "does not exist"),
    "outside": (lambda path: path.symlink_to("/etc/hostname"), "outside the inbox"),
    "folder-outside": (lambda path: path.symlink_to("/etc"), "outside the inbox"),
    "circle": (lambda path: path.symlink_to(path), "a link"),
    "device": (no_device, "Only regular files"),
    "socket": (listening, "a socket"),
    "huge.png": (sparse, "1,099,511,627,776 bytes"),
    "empty.png": (lambda path: path.write_bytes(b""), "It is empty"),
    "noise.bin": (lambda path: path.write_bytes(b"\0\1\2\3" * 100), "no known type"),
    "deep/down/pipe.jpg": (os.mkfifo, "a named pipe"),
}


async def test_traps_are_refused_with_the_reason_and_left_where_they_are(place):
    put_neighbours(place)
    for name, (make, _) in TRAPS.items():
        (place.inbox / name).parent.mkdir(parents=True, exist_ok=True)
        make(place.inbox / name)
    assert run_once(place) == 0, place.last_log()
    neighbours_are_done(place)
    there = {str(path.relative_to(place.inbox)) for path in place.inbox.rglob("*")}
    assert there >= set(TRAPS)
    for name, (_, reason) in TRAPS.items():
        explanation = await why(place, place.inbox / name)
        assert explanation.state == "refused", name
        assert reason in " ".join(explanation.sentences), name
        report = json.loads((place.outbox / "failed" / f"{name}.error.json").read_bytes())
        assert reason in report["refused"]
    assert place.count("events") == 3


async def test_names_of_any_bytes_are_taken_in_and_explained(place):
    put_neighbours(place)
    paths = [place.inbox / os.fsdecode(name) for name in NAMES]
    for path in paths:
        path.write_text(f"content of {path.name!r}")
    (place.inbox / "x.jpg").mkdir()
    (place.inbox / "x.jpg" / "inner.txt").write_text("a file in a folder that is called like one")
    paths.append(place.inbox / "x.jpg" / "inner.txt")
    assert run_once(place) == 0, place.last_log()
    neighbours_are_done(place)
    assert sorted(os.listdir(place.inbox)) == ["x.jpg"]
    assert os.listdir(place.inbox / "x.jpg") == []
    assert len([path for path in place.outbox.rglob("*.json") if path.is_file()]) == len(paths) + 3
    for path in paths:
        assert (await why(place, path)).state == "done", path


async def test_a_file_that_may_not_be_read_is_refused_until_it_may(place):
    prefix = ()
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("root reads everything, and there is no setpriv to take that right from the host")
        prefix = (setpriv, "--bounding-set=-dac_override,-dac_read_search")
    put_neighbours(place)
    (place.inbox / "secret.txt").write_text("not for the host")
    (place.inbox / "secret.txt").chmod(0)
    (place.inbox / "closed").mkdir()
    (place.inbox / "closed" / "inner.txt").write_text("in a closed folder")
    (place.inbox / "closed").chmod(0)
    try:
        assert run_once(place, prefix=prefix) == 0, place.last_log()
        neighbours_are_done(place)
        for name, reason in (("secret.txt", "right to read it"), ("closed", "cannot be listed")):
            explanation = await why(place, place.inbox / name)
            assert explanation.state == "refused"
            assert reason in " ".join(explanation.sentences)
        (place.inbox / "secret.txt").chmod(0o600)
    finally:
        (place.inbox / "closed").chmod(0o700)
    assert run_once(place, prefix=prefix) == 0, place.last_log()
    for name in ("secret.txt", "closed/inner.txt"):
        assert (await why(place, place.inbox / name)).state == "done"
    assert not (place.outbox / "failed" / "secret.txt.error.json").exists()


def test_the_host_runs_on_while_traps_keep_coming(place):
    with host(place) as process:
        said(process, "idle")
        for number in range(20):
            (place.inbox / f"empty-{number}.png").write_bytes(b"")
            os.mkfifo(place.inbox / f"pipe-{number}")
            (place.inbox / f"good-{number}.png").write_bytes(picture("PNG"))
        until(lambda: len(list(place.outbox.glob("good-*.png.json"))) == 20)
        until(lambda: place.count("arrivals WHERE state = 'refused'") == 40)
        assert stop(process) == 0
    assert place.count("jobs WHERE state = 'done'") == 40


def test_a_host_whose_inbox_is_missing_ends_when_it_is_asked_to_work_once(place):
    (place.inbox / "a.txt").write_text("worked off")
    assert run_once(place) == 0
    place.inbox.rename(place.root / "away")
    assert run_once(place, limit=60) == 0
    assert "is not there" in place.last_log()
    assert place.count("events") == 1
