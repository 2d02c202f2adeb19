"""A content that somebody waits for, put to a plugin of a real host."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from PIL import Image

from host.errors import NotFound, UsageError, WorkFailed
from host.requests import Requests
from tests.host.working_host import Place
from tests.until import until


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    return Place(tmp_path / "place", plugin_path)


def requests_of(app, folder: Path) -> Requests:
    return Requests(app.registry, app.dispatcher, app.library, folder)


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    return file.getvalue()


async def test_a_request_is_answered_and_leaves_nothing_behind(place, tmp_path):
    async with place.running() as app:
        caption, vector = await requests_of(app, tmp_path / "requests").answer("reader", b"apple")
        assert caption.data == {"text": "5"}
        assert (vector.type, len(vector.blob)) == ("embedding", 8)
        assert (await app.status()).events == 0
    assert list((tmp_path / "requests").iterdir()) == []


async def test_the_kind_is_told_by_the_content(place, tmp_path):
    async with place.running() as app:
        [vector] = await requests_of(app, tmp_path / "requests").answer("reader", picture())
        assert vector.type == "embedding"


async def test_a_large_content_is_answered_as_well(place, tmp_path):
    async with place.running() as app:
        caption, _ = await requests_of(app, tmp_path / "requests").answer("reader", b"long " * 100_000)
        assert caption.data == {"text": "500000"}


async def test_requests_at_once_do_not_get_each_others_answers(place, tmp_path):
    async with place.running() as app:
        requests = requests_of(app, tmp_path / "requests")
        answers = await asyncio.gather(*(requests.answer("reader", b"a" * size) for size in range(1, 9)))
        assert [answer[0].data["text"] for answer in answers] == [str(size) for size in range(1, 9)]


async def test_a_request_comes_before_every_job_that_waits(place, tmp_path):
    async with place.running() as app:
        gate = tmp_path / "gate"
        await app.submit([place.file(f"{n}.txt", f"wait {gate} {n}") for n in range(6)])
        await until(lambda: app.dispatcher.running("reader"))
        asked = asyncio.create_task(requests_of(app, tmp_path / "requests").answer("reader", b"now"))
        await until(lambda: app.leases.slots["reader"].urgent)
        gate.touch()
        await asked
        done = await app._job_counts()
        assert done["reader"].get("queued", 0) > 0


async def test_a_request_is_answered_while_the_host_is_paused(place, tmp_path):
    async with place.running() as app:
        await app.pause(True)
        assert await requests_of(app, tmp_path / "requests").answer("reader", b"apple")


@pytest.mark.parametrize(
    ("plugin", "content", "error", "said"),
    [
        ("oracle", b"x", NotFound, "oracle"),
        ("reader", b"a,b,c\n1,2,3\n4,5,6\n", UsageError, "text/csv"),
        ("reader", b"\0\1\2\3", UsageError, "no kind"),
        ("reader", b"torn", WorkFailed, "torn"),
    ],
)
async def test_what_cannot_be_answered_says_why_and_leaves_nothing_behind(
    place, tmp_path, plugin, content, error, said
):
    async with place.running() as app:
        with pytest.raises(error, match=said):
            await requests_of(app, tmp_path / "requests").answer(plugin, content)
    folder = tmp_path / "requests"
    assert not folder.exists() or list(folder.iterdir()) == []


async def test_a_request_that_is_given_up_is_not_begun_and_leaves_nothing_behind(place, tmp_path):
    async with place.running() as app:
        gate = tmp_path / "gate"
        await app.submit([place.file("a.txt", f"wait {gate}")])
        await until(lambda: app.dispatcher.running("reader"))
        asked = asyncio.create_task(requests_of(app, tmp_path / "requests").answer("reader", b"now"))
        await until(lambda: app.leases.slots["reader"].urgent)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert list((tmp_path / "requests").iterdir()) == []
        gate.touch()
        await until(app.dispatcher.is_idle)
