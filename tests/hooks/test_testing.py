"""The authors' kit: what it hands out is what the host would, and what it runs is a real worker."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.metadata import distribution
from pathlib import Path

import pytest

from hooks import InvalidPlugin, OutOfMemory
from hooks.events import KINDS, hook_of
from hooks.testing import EventFactory, FakeLease, PluginFailed, TemporaryHost, run_plugin, samples
from hooks.testing.references import find, open_plugin
from host.identify import HEAD, identify
from host.intake import event_id_of
from plugins.vision import metadata, timeline

TRIED = '''
"""Tried by the tests of the kit."""
import os
from pathlib import Path
from pydantic import BaseModel
from hooks import *

class Settings(BaseModel):
    eat_mb: int = 0
    deed: str = ""

class Seen(ResultData):
    type = "seen"
    blob_field = "raw"
    names: tuple[str, ...]
    device: str
    raw: bytes = b""

class Drawn(ResultData):
    type = "drawn"
    file_field = "path"
    side: int
    path: Path

@hookimpl
def settings_class(): return Settings

@hookimpl
def on_data(events, context):
    for event in events:
        (context.scratch / "drawing").write_bytes(b"a drawing")
        yield event.result(Drawn(side=3, path=context.scratch / "drawing"))

@hookimpl
def model_spec(settings):
    small = Variant(name="small", memory_mb=100, settings={"eat_mb": 0}, batch=1)
    return ModelSpec(name="tried", memory_mb=100 + settings.eat_mb, batch=4, variants=(small,))

@hookimpl
def load(settings, device): return bytearray(b"x") * (settings.eat_mb * 1024 * 1024)

@hookimpl
def on_image(events, settings, context):
    if settings.deed == "die": print("last words", flush=True); os._exit(3)
    if settings.deed == "hang":
        import time; time.sleep(600)
    if settings.deed == "raise": raise KeyError("no")
    for event in events:
        context.progress(event, 0.5, "half")
        yield event.result(Seen(names=tuple(one.name for one in events), device=context.device.torch, raw=b"raw"))
        made = context.scratch / f"{event.name}.txt"
        made.write_text("text of " + event.name)
        yield event.derived(made, "note", moment=1.5)

@hookimpl
def on_text(events):
    for event in events: yield event.failure("too short")
'''


@pytest.fixture
def events(tmp_path: Path) -> EventFactory:
    return EventFactory(tmp_path / "events")


@pytest.fixture
def tried(tmp_path: Path) -> Path:
    path = tmp_path / "tried_plugin.py"
    path.write_text(TRIED)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_of_each_kind_is_what_the_host_takes_it_for(events, kind):
    event = events.make(kind)
    content = event.path.read_bytes()
    assert identify(content[:HEAD], event.name) == (event.kind, event.media_type)
    assert event.id == event_id_of(kind, event.sha256)
    assert event.hook == hook_of(kind)
    assert event.size == len(content) < 40_000
    assert event.path.read_bytes() == samples.sample(kind)[2]


@pytest.mark.parametrize("kind", KINDS)
def test_the_huge_relative_of_a_sample_is_of_its_kind_and_the_broken_one_is_not_the_same(kind):
    name = samples.sample(kind)[0]
    huge = samples.huge(kind)
    assert identify(huge[:HEAD], name) == identify(samples.sample(kind)[2], name)
    assert len(huge) > 100_000
    assert samples.broken(kind) == samples.broken(kind) != samples.sample(kind)[2]


def test_an_event_of_a_file_is_known_by_its_name_or_by_what_is_said_of_it(events, tmp_path):
    named = {
        "a.jpg": "image",
        "a.mp3": "audio",
        "a.mp4": "video",
        "a.pdf": "document",
        "a.txt": "text",
        "a.csv": "data",
    }
    for name, kind in named.items():
        (tmp_path / name).write_bytes(b"content")
        assert events.of_file(tmp_path / name).kind == kind
    (tmp_path / "odd.xyzzy").write_bytes(b"content")
    event = events.of_file(tmp_path / "odd.xyzzy", kind="data", media_type="x/odd", tags=("a",), moment=2.0)
    assert (event.kind, event.media_type, event.tags, event.moment) == ("data", "x/odd", ("a",), 2.0)
    with pytest.raises(ValueError, match="say kind="):
        events.of_file(tmp_path / "odd.xyzzy")


def test_a_plugin_that_comes_with_the_host_is_run_by_module_and_by_name(events):
    for plugin in (metadata, "metadata", "plugins.vision.metadata"):
        run = run_plugin(plugin, events.image(), settings={"colors": 1})
        assert (run.of_type("image_info")[0]["width"], run.of_type("image_info")[0]["height"]) == (96, 64)
        assert len(run.of_type("image_info")[0]["dominant_colors"]) == 1
        assert run.results[1].blob.startswith(b"\xff\xd8")


def test_files_go_in_batches_and_all_that_comes_of_them_is_told(events, tried):
    run = run_plugin(tried, *(events.image() for _ in range(5)), events.text(), lease=FakeLease(threads=1))
    assert [len(data["names"]) for data in run.of_type("seen")] == [4, 4, 4, 4, 1]
    assert {given.blob for given in run.results} == {b"raw"}
    assert run.derived[0].content == b"text of square.png"
    assert (run.derived[0].role, run.derived[0].moment) == ("note", 1.5)
    assert (0.5, "half") in run.progress
    assert list(run.failures.values()) == ["too short"]
    assert run.memory_mb > 10


def test_an_event_of_a_kind_that_a_plugin_brings_reaches_its_hook(events, tmp_path):
    path = tmp_path / "track_plugin.py"
    path.write_text("""
from typing import Literal
from hooks import *

class Track(Event):
    kind: Literal["track"] = "track"

@hookimpl
def register_kinds(): return [Track]
@hookimpl
def on_track(events): return [event.result(Caption(text=type(event).__name__)) for event in events]
""")
    event = events.make("track", "walk.gpx", b"<gpx/>", media_type="application/gpx+xml")
    assert run_plugin(path, event).of_type("caption") == [{"text": "Track"}]


def test_the_file_of_a_result_is_told_by_its_content(events, tried):
    (given,) = run_plugin(tried, events.data()).results
    assert (given.data, given.file, given.blob) == ({"side": 3}, b"a drawing", None)


def test_a_plugin_that_gathers_gets_an_event_with_its_family(events):
    run = run_plugin(timeline, events.video())
    assert run.of_type("timeline")[0]["frames"] == []


@pytest.mark.parametrize(
    ("deed", "code", "said"),
    [("raise", "exception", "KeyError: 'no'"), ("die", "died", "exit status 3"), ("hang", "time_limit", "no answer")],
)
def test_a_plugin_that_does_not_do_its_work_fails_with_words(events, tried, deed, code, said):
    with pytest.raises(PluginFailed, match=said) as failed:
        run_plugin(tried, events.image(), settings={"deed": deed}, patience=3 if deed == "hang" else 120)
    assert failed.value.code == code
    assert deed != "die" or "last words" in failed.value.hint


def test_an_event_that_a_plugin_has_no_hook_for_is_refused_with_those_that_it_has(events, tried):
    with pytest.raises(InvalidPlugin, match=r"has no on_audio for tone\.wav\. It has on_data, on_image, on_text\."):
        run_plugin(tried, events.audio())


def test_a_model_that_is_said_to_be_too_large_for_the_lease_gives_way_to_its_variant(events, tried):
    lease = FakeLease(memory_mb=200)
    run = run_plugin(tried, events.image(), settings={"eat_mb": 300}, lease=lease)
    assert run.spec.variant.name == "small"
    assert lease.steps == ["variant small"]
    assert lease.peak_mb < 200


def test_a_worker_that_really_takes_more_than_the_lease_has_goes_down_the_ladder_and_then_fails(events, tried):
    small = FakeLease(memory_mb=600)
    assert run_plugin(tried, events.image(), settings={"eat_mb": 300}, lease=small).spec.variant is None
    lying = tried.with_name("lying_plugin.py")
    lying.write_text(TRIED.replace("memory_mb=100 + settings.eat_mb", "memory_mb=100").replace("Tried", "Lying"))
    lease = FakeLease(memory_mb=250)
    run = run_plugin(lying, events.image(), settings={"eat_mb": 300}, lease=lease)
    assert lease.steps == ["batch 2", "batch 1", "variant small"]
    assert run.of_type("seen")
    assert lease.peak_mb > 300
    lease.memory_mb = 5
    with pytest.raises(OutOfMemory, match="did not fit 5 MB"):
        run_plugin(lying, events.image(), lease=lease)


def test_what_a_gpu_is_called_reaches_the_plugin_without_one(events, tried):
    assert run_plugin(tried, events.image(), lease=FakeLease(kind="gpu")).of_type("seen")[0]["device"] == "cuda:0"


def test_a_folder_with_a_pyproject_is_a_plugin_before_it_is_installed(tmp_path, events):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "from_a_folder.py").write_text(TRIED)
    (tmp_path / "pyproject.toml").write_text('[project.entry-points.sensorium]\n"by-folder" = "from_a_folder"\n')
    assert find(tmp_path).name == "by-folder"
    assert run_plugin(tmp_path, events.image()).of_type("seen")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    with pytest.raises(InvalidPlugin, match="has no plugins"):
        find(tmp_path)
    with pytest.raises(InvalidPlugin, match="no plugin and no module nobody-has-this"):
        find("nobody-has-this")


def test_of_two_files_of_one_name_the_one_that_is_named_is_meant(tmp_path):
    for folder, spec in (("a", 300), ("b", 700)):
        (tmp_path / folder).mkdir()
        source = f"from hooks import *\n@hookimpl\ndef model_spec(): return ModelSpec(name='m', memory_mb={spec})\n"
        (tmp_path / folder / "namesake.py").write_text(source)
    for folder, spec in (("a", 300), ("b", 700), ("a", 300)):
        assert open_plugin(find(tmp_path / folder / "namesake.py")).spec.memory_mb == spec


def test_a_host_in_a_folder_works_with_a_plugin_that_is_not_installed(tmp_path, events, tried):
    host = TemporaryHost(tmp_path / "place")
    host.use(tried, eat_mb=1)
    host.drop(events.image(), "trip/cat.png")
    sidecar = host.run()["trip/cat.png"]
    assert {(result["plugin"], result["type"]) for result in sidecar["results"]} == {("tried_plugin", "seen")}
    assert "tried_plugin" in host.command("why", "inbox/trip/cat.png").stdout


def test_the_fixtures_are_there_for_those_who_ask_and_for_nobody_else(tmp_path):
    assert not distribution("sensorium").entry_points.select(group="pytest11")
    (tmp_path / "test_it.py").write_text(textwrap.dedent("""
        from hooks.testing import run_plugin

        def test_it(events, lease, host):
            lease.memory_mb = 900
            run = run_plugin("metadata", events.image(), lease=lease)
            assert run.of_type("image_info")
            assert host.inbox.is_dir()
    """))  # fmt: skip
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    command = [sys.executable, "-m", "pytest", *options, str(tmp_path)]
    without = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=alone)
    assert "fixture 'events' not found" in without.stdout
    asked = subprocess.run(
        [*command, "-p", "hooks.testing.fixtures"], capture_output=True, text=True, cwd=tmp_path, env=alone
    )
    assert "1 passed" in asked.stdout, asked.stdout


def test_the_kit_imports_no_pytest_and_nothing_of_the_host():
    names = ("pytest", "host", "plugins", "numpy", "PIL", "asyncio")
    program = f"import sys, hooks.testing; print([name for name in {names!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"
