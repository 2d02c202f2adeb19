"""Every block of code in docs/ and README.md is run, or says why not (the markers are in `tools.reference.blocks`).

A shell block runs in a folder with a real host; a block of Python is a plugin, which works on real files in a real
worker, or is executed; TOML goes through the host's own loader; JSON is held against the real output.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import yaml

from hooks.testing import EventFactory, run_plugin
from hooks.testing.references import find, open_plugin
from host.config import check_plugin_names, check_plugin_settings, load_config
from host.plugin_manager import find_plugins
from tests.docs.conftest import PagesPlace
from tests.mosquitto import mosquitto
from tools.reference.blocks import ROOT, Block, all_blocks, blocks_of

BLOCKS = all_blocks()
FOLLOWED = {"docs/plugins/tutorial.md": "tests/tools/test_tutorial.py"}  # from its first command to its last
KINDS = ("image", "audio", "video", "document", "text", "data")


def here(*languages: str) -> Any:
    """The blocks in these languages that are run in this file."""
    mine = (one for one in BLOCKS if one.page not in FOLLOWED and one.how not in ("not run", "run by"))
    chosen = [one for one in mine if one.language in languages]
    return pytest.mark.parametrize("block", chosen, ids=str)


# --- markers ---


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_can_be_run_or_says_why_not(block):
    markers = {
        "": ("sh", "python", "toml", "conf", "yaml"), "json": ("json",), "toml": ("toml",), "ends with": ("sh",),
        "background": ("sh",), "file": ("python", "toml"), "not run": (block.language,), "run by": (block.language,),
    }  # fmt: skip
    advice = "give it a language and a marker, see tools/reference/blocks.py"
    assert block.language in markers.get(block.how, ()), f"{block} is {block.language or 'of no language'!r}: {advice}"
    assert block.how != "not run" or len(block.what) > 20, f"{block}: say why it is not run"


@pytest.mark.parametrize("block", [one for one in BLOCKS if one.how == "run by"], ids=str)
def test_a_block_that_other_tests_run_is_known_to_them(block):
    assert Path(block.page).name in (ROOT / block.what).read_text(), f"{block.what} does not name {block.page}"


@pytest.mark.parametrize("page", FOLLOWED)
def test_a_page_that_is_followed_as_a_whole_is_known_to_the_tests_that_do_so(page):
    assert page in (ROOT / FOLLOWED[page]).read_text()


def test_the_blocks_of_a_page_are_found_with_their_markers():
    page = "<!-- not run: no need -->\n```sh\nls\n```\ntext\n\n```python\nx = 1\n```\n"
    found = [(one.language, one.code, one.how, one.what, one.line) for one in blocks_of("page.md", page)]
    assert found == [("sh", "ls\n", "not run", "no need", 2), ("python", "x = 1\n", "", "", 7)]
    with pytest.raises(ValueError, match="does not end"):
        blocks_of("page.md", "```sh\nls\n")


# --- Python ---


@here("python")
def test_a_block_of_python_runs(block, tmp_path):
    if block.how == "file":
        write_files(block.page, tmp_path)
    if block.what.startswith("test_"):
        ends_well([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", block.what], tmp_path)
    elif "hookimpl" in block.code:
        works(block, tmp_path)
    else:
        ends_well([sys.executable, "-c", block.code], tmp_path)


def write_files(page: str, folder: Path) -> None:
    """The example of a page: every block of it that is a file."""
    for one in BLOCKS:
        if (one.page, one.how) == (page, "file"):
            (folder / one.what).parent.mkdir(parents=True, exist_ok=True)
            (folder / one.what).write_text(one.code)


def ends_well(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr


def works(block: Block, folder: Path) -> None:
    """The plugin is registered, and something comes of every kind of file that it takes."""
    plugin = folder / f"block_{block.line}_{Path(block.page).stem.replace('-', '_')}.py"
    plugin.write_text(block.code)
    works_on = open_plugin(find(plugin)).hooks
    events = EventFactory(folder / "files")
    for kind in ["text"] if "on_finished" in works_on else [kind for kind in KINDS if f"on_{kind}" in works_on]:
        run = run_plugin(plugin, events.make(kind))
        assert run.results or run.failures or run.derived, f"nothing came of {kind}"


# --- TOML ---


@here("toml")
def test_a_block_of_toml_is_valid(block, tmp_path):
    if block.what == "pyproject":
        (module,) = tomllib.loads(block.code)["project"]["entry-points"]["sensorium"].values()
        assert module.isidentifier()
        return
    (tmp_path / "config.toml").write_text(block.code)
    config = load_config(tmp_path / "config.toml")
    check_plugin_names(config, {point.name for point in entry_points(group="sensorium")})
    registry = find_plugins(config.plugins, lambda name, settings: check_plugin_settings(config, name, settings))
    unused = {one.name: one.problem for one in registry.unusable if one.name in config.plugins and not one.disabled}
    assert not unused or block.how == "toml", unused


# --- JSON ---


def search(place: PagesPlace) -> Any:
    return place.answer("search", "a black cat")[0]


def sidecar(place: PagesPlace) -> Any:
    failed = place.answer("results", "broken.png")
    return {**place.sidecar("trip/cat.png"), "failures": failed[0]["failures"]}


REAL: dict[str, Callable[[PagesPlace], Any]] = {"search": search, "sidecar": sidecar}


@here("json")
def test_a_block_of_json_has_the_shape_of_the_real_output(block, place):
    assert list(differences(json.loads(block.code), REAL[block.what](place))) == []


def differences(shown: Any, real: Any, at: str = "") -> Any:
    """Where a shown JSON differs from the real one in keys or types; "…" stands for anything, `null` is of any type."""
    if isinstance(shown, dict) and isinstance(real, dict):
        if "…" in shown:
            return
        yield from (f"{at}.{key} is not there in reality" for key in shown.keys() - real.keys())
        yield from (f"{at}.{key} is not shown" for key in real.keys() - shown.keys())
        for key in shown.keys() & real.keys():
            yield from differences(shown[key], real[key], f"{at}.{key}")
    elif isinstance(shown, list) and isinstance(real, list):
        for number, one in enumerate(shown):
            if real and not any(not list(differences(one, other)) for other in real):
                yield f"{at}[{number}] is like none of the real ones: {list(differences(one, real[0], at))}"
    elif None not in (shown, real) and not _alike(shown, real):
        yield f"{at} is {type(shown).__name__}, not {type(real).__name__}"


def _alike(shown: Any, real: Any) -> bool:
    numbers = (int, float)
    return isinstance(shown, numbers) == isinstance(real, numbers) and isinstance(shown, str) == isinstance(real, str)


def test_a_difference_of_shape_is_seen():
    real = {"a": 1, "b": [{"c": "x"}], "d": None}
    assert list(differences({"a": 2.5, "b": [{"c": "…"}], "d": "text"}, real)) == []
    assert list(differences({"a": "1", "b": [{"d": 1}]}, real)) != []
    assert list(differences({"a": 1, "b": [], "d": None, "e": 1}, real)) == [".e is not there in reality"]


# --- the rest ---


@here("sh")
def test_a_block_of_shell_runs_beside_a_real_host(block, place):
    lines = block.code.splitlines()
    if block.how == "background":
        lines = [f"{one.partition(' #')[0]} &" if one.startswith(block.what) else one for one in lines]
    script = "\n".join(lines)
    code, output = place.run(script)
    allowed = block.what.split() if block.how == "ends with" else ["0"]
    assert str(code) in allowed, f"{block} ended with {code}:\n{output}"


@here("conf")
def test_a_configuration_of_mosquitto_is_accepted_by_it(block, tmp_path):
    with mosquitto(tmp_path, f"allow_anonymous true\n{block.code}"):
        pass


@here("yaml")
def test_a_block_of_yaml_is_one(block):
    assert isinstance(yaml.safe_load(block.code), dict)


def test_python_blocks_are_not_hidden_in_other_languages():
    """A block without a language, or called text, shows output; whoever hides code there has it go stale."""
    for block in BLOCKS:
        if block.language in ("", "text"):
            with pytest.raises(SyntaxError):
                ast.parse(block.code)
