"""Sources that plugins are: what they hand over is taken in once, and they go on only when it is safe."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from host.errors import ConfigError
from host.views import SourceView
from tests.end_to_end import host_process
from tests.end_to_end.host_process import run_once
from tests.host.working_host import Place
from tests.plugin_kit import install_plugin
from tests.until import until

LIMIT = 120

# A mailbox is a folder of mails; who reads one marks it by a file, and reads those again that have no mark.
POSTMAN = """
import os, shutil, time
from pathlib import Path
from hooks import Arrival, Source, hookimpl

box = Path({folder!r})

@hookimpl
def register_sources(): return [Source(every={every}, time_limit={limit})]

@hookimpl
def read_source(source, context):
    for mail in sorted(box.glob("*.mail")):
        name = mail.stem
        if (box / f"{{name}}.seen").exists():
            continue
        text = mail.read_text()
        with (box / "log").open("a") as log:
            print(name, context.is_taken(name), file=log)
        if text == "raise": raise ConnectionError("the line is dead")
        if text == "hang": time.sleep(600)
        if text == "die": os._exit(3)
        path = box if text == "outside" else context.scratch
        if text != "missing": (path / f"{{name}}.txt").write_text(text)
        if text == "number": yield 5
        reason = yield Arrival(path=path / f"{{name}}.txt", origin=name, tags=("mail",), metadata={{"from": "ann"}})
        (box / f"{{name}}.seen").write_text(reason)
"""


class Mailbox:
    """What the postman reads."""

    def __init__(self, folder: Path, site: Path) -> None:
        folder.mkdir()
        self.folder, self.site = folder, site
        self.install()

    def install(self, every: float = 0.2, limit: float = 300) -> None:
        install_plugin(self.site, "post", POSTMAN.format(folder=str(self.folder), every=every, limit=limit))

    def put(self, **mails: str) -> None:
        for name, text in mails.items():
            (self.folder / f"{name}.part").write_text(text)
            (self.folder / f"{name}.part").rename(self.folder / f"{name}.mail")

    @property
    def seen(self) -> dict[str, str]:
        return {path.stem: path.read_text() for path in self.folder.glob("*.seen")}

    @property
    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    return Place(tmp_path / "place", plugin_path)


@pytest.fixture
def mailbox(tmp_path: Path, plugin_path: Path) -> Mailbox:
    return Mailbox(tmp_path / "mailbox", plugin_path)


async def failing(app, words: str) -> SourceView:
    """The source, once it says why it fails."""
    async with asyncio.timeout(LIMIT):
        while words not in (source := (await app.status()).sources[0]).alarm:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    return source


async def test_what_a_source_hands_over_is_an_event_like_any_other(place, mailbox):
    mailbox.put(hello="apple")
    async with place.running() as app:
        await until(lambda: "hello" in mailbox.seen, LIMIT)
        mailbox.put(again="banana", copy="apple", torn="\0\1\2")  # taken in by a later reading
        await until(lambda: len(mailbox.seen) == 4, LIMIT)
        await until(lambda: len(list((place.outbox / "post").glob("*.json"))) == 3, LIMIT)
        (source,) = (await app.status()).sources
        assert (source.name, source.plugin, source.taken, source.alarm) == ("post", "post", 3, "")
        (found,) = await app.results("hello")
    assert (found.event.source, found.event.origin, found.event.tags) == ("post", "hello", ["mail"])
    assert (found.event.kind, found.event.metadata) == ("text", {"from": "ann"})
    assert found.results[0].data == {"text": "5"}
    assert list((place.data / "scratch" / "post").rglob("*.txt")) == []
    assert mailbox.seen.pop("torn").startswith("Its content is of no known type.")
    assert set(mailbox.seen.values()) <= {"", mailbox.seen["torn"]}
    (report,) = place.outbox.rglob("*.error.json")
    assert json.loads(report.read_text())["source"] == "post"


@pytest.mark.parametrize("step", ["in library", "committed", "safe"])
def test_killed_at_any_step_nothing_is_lost_and_nothing_comes_twice(tmp_path, step):
    place = host_process.Place(tmp_path / "place")
    place.measure()
    mailbox = Mailbox(tmp_path / "mailbox", place.site)
    mails = {f"mail{number}": f"this is mail {number}" for number in range(4)}
    mailbox.put(**mails)
    assert run_once(place, kill_at=(step, 2)) == -9
    assert len(mailbox.seen) <= 1  # no mail is marked that is not safe
    assert run_once(place) == 0, place.last_log()
    assert mailbox.seen == dict.fromkeys(mails, "")
    assert sorted(row["origin"] for row in place.rows("SELECT origin FROM arrivals")) == sorted(mails)
    assert place.count("events") == place.count("results") == 4
    assert len(list((place.outbox / "post").glob("*.json"))) == 4
    assert list((place.data / "scratch" / "post").rglob("*.txt")) == []
    asked = [line for line in mailbox.log if line.startswith("mail1 ")]
    assert asked == ["mail1 False", f"mail1 {step in ('committed', 'safe')}"]


FAILS = {
    "raise": "ConnectionError: the line is dead",
    "die": "ended with exit code 3",
    "outside": "its file must lie in its scratch folder",
    "missing": "missing.txt cannot be read",
    "number": "post.read_source yielded int. Yield an Arrival(...) for each file.",
}


async def test_a_source_that_fails_says_why_is_read_again_and_hurts_nobody(place, mailbox):
    async with place.running() as app:
        for does, says in FAILS.items():
            mailbox.put(**{does: does})
            source = await failing(app, says)
            assert source.alarm.endswith("It is read again by itself.")
            (answer,) = await app.submit([place.file(does, f"while it fails to {does}")], wait=True)
            assert answer.state == "done"
            mailbox.put(**{does: f"well again after {does}"})
            await until(lambda does=does: mailbox.seen.get(does) == "", LIMIT)
        assert (await app.status()).sources[0].taken == len(FAILS)
    assert list((place.data / "workers").iterdir()) == []


async def test_a_source_that_hangs_is_ended_and_read_again(place, mailbox):
    mailbox.install(limit=2)
    mailbox.put(bad="hang")
    async with place.running() as app:
        await failing(app, "post did not finish within 2 s and was ended.")
        mailbox.put(bad="well again")
        await until(lambda: mailbox.seen == {"bad": ""}, LIMIT)


async def test_an_inbox_cannot_have_the_name_of_a_source(place, mailbox):
    place.settings["inbox"] = [{"path": str(place.inbox), "name": "post"}]
    with pytest.raises(
        ConfigError, match=r"is called 'post', as a source of plugin post\. Give the inbox another name"
    ):
        async with place.open():
            pass
