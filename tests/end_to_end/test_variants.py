"""When memory runs out, a model is run in the smaller ways that its plugin declares: a whole host, real workers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from host.app import open_app
from host.config import Config
from tests.plugin_kit import BUILT_IN_OFF, install_plugin

# A model of `context` MB: it does not load above `fits`, and a text is too much for a context smaller than its length.
GREEDY = """
from hooks import Caption, ModelSpec, OutOfMemory, Variant, hookimpl
from pydantic import BaseModel

class Settings(BaseModel):
    context: int = 4096
    fits: int = 4096
    room: int = 10_000

@hookimpl
def settings_class(): return Settings

@hookimpl
def model_spec(settings):
    variants = tuple(
        Variant(name=f"context {size}", memory_mb=size // 32, settings={"context": size}) for size in (2048, 512)
    )
    return ModelSpec(name="greedy", device="cpu", memory_mb=settings.context // 32, batch=4, variants=variants)

@hookimpl
def load(spec, settings):
    if settings.context > settings.fits:
        raise OutOfMemory(f"A context of {settings.context} does not fit.")
    return bytearray(settings.context)

@hookimpl
def on_text(events, model, settings):
    for event in events:
        text = event.open().read().decode()
        if text.startswith("long") and len(model) > 512:
            raise MemoryError()
        yield event.result(Caption(text=f"{len(model)} of {settings.context}"))
"""


class Place:
    """A host's folders under one root."""

    def __init__(self, root: Path, site: Path) -> None:
        self.root, self.inbox, self.outbox = root, root / "inbox", root / "outbox"
        self.inbox.mkdir(parents=True)
        install_plugin(site, "greedy", GREEDY)

    def config(self, cpu_memory_mb: int = 1000, **settings: int) -> Config:
        table = {
            "paths": {"data": str(self.root / "data"), "outbox": str(self.outbox)},
            "inbox": [{"path": str(self.inbox), "quiet": 0.05}],
            "devices": {"use_gpu": False, "cpu_memory_mb": cpu_memory_mb},
            "plugins": {**BUILT_IN_OFF, "greedy": settings},
        }
        return Config.model_validate(table)

    def drop(self, **texts: str) -> None:
        for name, text in texts.items():
            (self.inbox / f"{name}.txt").write_text(text)

    def result(self, name: str) -> tuple[str, str | None, list[str]]:
        """What was found, by which variant, after which steps."""
        (result,) = json.loads((self.outbox / f"{name}.txt.json").read_text())["results"]
        provenance = result["provenance"]
        return result["data"]["text"], provenance["variant"], provenance.get("ladder", [])


@pytest.fixture
def place(tmp_path: Path, plugin_path: Path) -> Place:
    return Place(tmp_path / "place", plugin_path)


async def test_work_that_needs_more_memory_than_there_is_is_done_by_the_first_variant_that_manages(place):
    place.drop(short="a", long="long and longer")
    async with open_app(place.config()) as app:
        assert (await app.run(once=True)).failed == 0
        why = await app.why(str(place.inbox / "long.txt"))
        other = await app.why(str(place.inbox / "short.txt"))
    assert place.result("short") == ("4096 of 4096", None, [])
    ladder = ["alone on cpu", "as 'context 2048'", "as 'context 512'"]
    assert place.result("long") == ("512 of 512", "context 512", ladder)
    assert why.sentences[1] == (
        "greedy: done, by the variant 'context 512' of its model; memory ran out, and it was tried again alone on cpu, "
        "then as 'context 2048', then as 'context 512'."
    )
    assert other.sentences[1] == "greedy: done."


async def test_a_model_that_does_not_load_for_lack_of_memory_is_loaded_as_a_variant(place):
    place.drop(short="a")
    async with open_app(place.config(fits=2048)) as app:
        assert (await app.run(once=True)).failed == 0
    assert place.result("short") == ("2048 of 2048", "context 2048", ["alone on cpu", "as 'context 2048'"])


async def test_a_model_that_its_device_can_never_hold_is_a_variant_from_the_start(place):
    place.drop(short="a")
    async with open_app(place.config(cpu_memory_mb=100)) as app:
        assert (await app.run(once=True)).failed == 0
    assert place.result("short") == ("2048 of 2048", "context 2048", [])


async def test_where_no_variant_fits_either_the_job_fails_with_the_numbers(place):
    place.drop(short="a")
    async with open_app(place.config(cpu_memory_mb=10)) as app:
        assert (await app.run(once=True)).failed == 1
        (failure,) = (await app.status()).failures
    assert failure.message == "greedy needs 128 MB; cpu may use 10 MB."


async def test_a_variant_whose_settings_the_plugin_would_refuse_is_told_at_the_start(place, plugin_path):
    wrong = GREEDY.replace('settings={"context": size}', 'settings={"context": "much"}')
    install_plugin(plugin_path, "wrong", wrong)
    async with open_app(place.config()) as app:
        (listed,) = [view for view in await app.plugins() if view.name == "wrong"]
    assert listed.problem.startswith("the settings of its variant 'context 2048' are wrong: context: Input should be")
