"""One plugin that misbehaves costs its own jobs and nothing else: a whole host, real workers, real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest

from host.app import RunSummary, open_app
from host.config import Config
from tests.plugin_kit import BUILT_IN_OFF, MEASURE, install_plugin

BAD = {
    "raises": """
        @hookimpl
        def on_text(events):
            raise KeyError("colour")
    """,
    "hangs": """
        @hookimpl
        def model_spec(): return ModelSpec(name="hangs", device="none", batch=8, time_limit=0.4)
        @hookimpl
        def on_text(events): time.sleep(3600)
    """,
    "aborts": """
        @hookimpl
        def on_text(events):
            print("about to abort", flush=True)
            os.abort()
    """,
    "imports": """
        import a_package_that_nobody_has
    """,
    "starves": """
        @hookimpl
        def on_text(events): raise MemoryError()
    """,
    "missing": """
        @hookimpl
        def model_spec(): return ModelSpec(name="missing", device="cpu", files=(WEIGHTS,))
        @hookimpl
        def load(spec):
            if not WEIGHTS.exists():
                raise ModelUnavailable(f"The weights are not at {WEIGHTS}.", "Put them there.")
        @hookimpl
        def on_text(events):
            for event in events:
                yield event.result(Caption(text="seen"))
    """,
    "garbles": """
        @hookimpl
        def on_text(events):
            for event in events:
                yield event.result(Caption(text="half a character: \\ud800"))
    """,
    "quotes": """
        @hookimpl
        def on_text(events):
            raise ValueError("no such file: odd-\\udcff.txt")
    """,
    "picky": """
        @hookimpl
        def on_text(events):
            for event in events:
                if b"poison" in event.open().read():
                    os.abort()
                yield event.result(Caption(text="fine"))
    """,
}
HEAD = """
import os, time
from pathlib import Path
from hooks import Caption, ModelSpec, ModelUnavailable, hookimpl
WEIGHTS = Path({weights!r})
"""


class Place:
    """A host's folders under one root, and the plugins that are installed for it."""

    def __init__(self, root: Path, site: Path) -> None:
        self.root, self.site = root, site
        self.inbox, self.outbox, self.weights = root / "inbox", root / "outbox", root / "weights.bin"
        self.inbox.mkdir(parents=True)
        install_plugin(site, "measure", MEASURE)

    def install(self, *names: str) -> None:
        for name in names:
            lines = BAD[name].splitlines()
            source = "\n".join(line.removeprefix("        ") for line in lines)
            install_plugin(self.site, name, HEAD.format(weights=str(self.weights)) + source)

    def drop(self, **contents: str) -> None:
        for name, content in contents.items():
            (self.inbox / f"{name}.txt").write_text(content)

    @property
    def config(self) -> Config:
        table = {
            "paths": {"data": str(self.root / "data"), "outbox": str(self.outbox)},
            "inbox": [{"path": str(self.inbox), "quiet": 0.05}],
            "jobs": {"backoff": [0.05]},
            "plugins": BUILT_IN_OFF,
        }
        return Config.model_validate(table)

    async def run(self) -> RunSummary:
        async with open_app(self.config) as app:
            return await app.run(once=True)

    def sidecar(self, name: str) -> dict[str, Any]:
        return json.loads((self.outbox / f"{name}.txt.json").read_text())

    def found(self, name: str) -> set[str]:
        return {result["plugin"] for result in self.sidecar(name)["results"]}

    def report(self, name: str) -> dict[str, Any]:
        return json.loads((self.outbox / "failed" / f"{name}.txt.error.json").read_text())

    def failures(self, name: str) -> dict[str, dict[str, Any]]:
        return {failure["plugin"]: failure for failure in self.report(name)["failures"]}


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    return Place(tmp_path / "place", plugin_path)


async def test_bad_plugins_fail_readably_and_cost_the_good_one_nothing(place):
    place.install("raises", "hangs", "aborts", "imports", "starves", "missing")
    place.drop(one="first", two="second")
    summary = await place.run()
    assert (summary.done, summary.failed) == (2, 10)
    for name in ("one", "two"):
        assert place.found(name) == {"measure"}
        failures = place.failures(name)
        assert {plugin: (one["code"], one["attempts"]) for plugin, one in failures.items()} == {
            "raises": ("exception", 3),
            "hangs": ("time_limit", 3),
            "aborts": ("died", 3),
            "starves": ("out_of_memory", 1),
            "missing": ("unavailable", 1),
        }
        assert failures["raises"]["message"] == "KeyError: 'colour'"
        assert failures["hangs"]["message"] == "hangs did not finish within 0.4 s and was ended."
        assert failures["aborts"]["message"] == "The worker of aborts ended by signal 6 (SIGABRT)."
        assert failures["starves"]["message"] == "MemoryError. It was tried again alone on light."
        assert failures["missing"]["message"] == f"The weights are not at {place.weights}."
        assert failures["missing"]["hint"] == "Put them there."
        report = place.report(name)
        assert report["file"] == f"{name}.txt"
        assert f"sensorium requeue {report['event']}" in report["what_to_do"]
        assert (place.outbox / "failed" / f"{name}.txt").read_text() in ("first", "second")


async def test_a_plugin_that_cannot_be_imported_is_listed_with_its_reason_and_gets_no_jobs(place):
    place.install("imports")
    place.drop(one="first")
    async with open_app(place.config) as app:
        await app.run(once=True)
        (listed,) = [view for view in await app.plugins() if view.name == "imports"]
    assert listed.problem == (
        "it cannot be imported: No module named 'a_package_that_nobody_has'. Install what it needs."
    )
    assert place.found("one") == {"measure"}
    assert place.sidecar("one")["failures"] == []


async def test_one_poisonous_file_fails_and_its_neighbours_in_the_batch_are_done(place):
    place.install("picky")
    place.drop(**{f"good{number}": "good" + str(number) for number in range(5)}, bad="poison")
    summary = await place.run()
    assert (summary.done, summary.failed) == (11, 1)
    assert all(place.found(f"good{number}") == {"measure", "picky"} for number in range(5))
    assert place.failures("bad")["picky"]["attempts"] == 3
    assert place.found("bad") == {"measure"}


async def test_half_characters_in_what_a_plugin_says_reach_no_file_and_end_no_host(place):
    place.install("garbles", "quotes")
    place.drop(one="first")
    summary = await place.run()
    assert (summary.done, summary.failed) == (1, 2)
    failures = place.failures("one")
    assert failures["garbles"]["code"] == "invalid_plugin"
    assert "half characters" in failures["garbles"]["message"]
    assert failures["quotes"]["message"] == "ValueError: no such file: odd-\\udcff.txt"


async def test_requeue_brings_the_jobs_back_once_what_was_missing_is_there(place):
    place.install("missing")
    place.drop(one="first", two="second")
    await place.run()
    place.weights.write_bytes(b"weights")
    async with open_app(place.config) as app:
        assert await app.requeue([], plugin="missing") == 2
        await app.run(once=True)
    for name in ("one", "two"):
        assert place.found(name) == {"measure", "missing"}
        assert place.sidecar(name)["failures"] == []
    assert list((place.outbox / "failed").iterdir()) == [], "what is mended is not set aside any more"


async def test_requeue_of_one_file_brings_back_its_jobs_alone(place):
    place.install("missing")
    place.drop(one="first", two="second")
    await place.run()
    place.weights.write_bytes(b"weights")
    async with open_app(place.config) as app:
        assert await app.requeue([str(place.inbox / "one.txt")]) == 1
        await app.run(once=True)
    assert place.found("one") == {"measure", "missing"}
    assert place.found("two") == {"measure"}


async def test_no_worker_is_left_behind(place):
    place.install("raises", "aborts")
    place.drop(one="first")
    await place.run()
    workers = [child for child in psutil.Process().children(recursive=True) if "hooks.worker" in child.cmdline()]
    assert workers == []
