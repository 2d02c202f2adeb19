"""Plugins whose dependencies clash work side by side, each in an environment of its own: real installs and workers."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from host import isolation
from host.app import open_app
from host.cli import build
from host.config import Config, InvalidConfig
from host.errors import HostError
from host.installing import install, uninstall
from host.isolation import Isolated
from tests.host.wheels import make_wheel
from tests.plugin_kit import BUILT_IN_OFF, MEASURE, install_plugin

PLUGIN = """
'''Says which version of the made-up library it has.'''
import clashing_library
from pydantic import BaseModel, Field
from hooks import Caption, ModelSpec, hookimpl

api = ">=1,<2"
print("hello from the import")

class Settings(BaseModel, extra="forbid"):
    '''How it says that.'''
    greeting: str = Field("this is", description="What comes before.")

@hookimpl
def settings_class(): return Settings

@hookimpl
def model_spec(settings): return ModelSpec(name="clasher", memory_mb=77, device="cpu")

@hookimpl
def load(): return clashing_library.VERSION

@hookimpl
def identify(head, name): return None

@hookimpl
def on_text(events, model, settings):
    import sys
    for event in events:
        yield event.result(Caption(text=f"{settings.greeting} {model} of {sys.prefix}"))
"""


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Wheels of a library in two versions, of a plugin that needs each, and of other packages; where pip looks."""
    folder = tmp_path_factory.mktemp("shelf")
    for version in ("1.0", "2.0"):
        make_wheel(folder, "clashing-library", version, {"clashing_library": f"VERSION = {version!r}"})
    for name, version in (("old", "1.0"), ("new", "2.0")):
        make_wheel(
            folder, f"{name}-plugin", "0.1", {f"{name}_plugin": PLUGIN},
            needs=["sensorium", "pydantic>=2", f"clashing-library=={version}"], plugins={name: f"{name}_plugin"},
        )  # fmt: skip
    make_wheel(folder, "no-plugin", "1.0", {"no_plugin": ""})
    make_wheel(folder, "broken-plugin", "1.0", {"broken": "import nobody_has_this"}, plugins={"broken": "broken"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder))
        yield folder


@pytest.fixture(scope="module")
def isolated(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Isolated:
    """A data directory's plugins, with both installed."""
    found = Isolated(tmp_path_factory.mktemp("host") / "data" / "plugins")
    (old,) = install("old-plugin", found, apart=True)
    (new,) = install(str(shelf / "new_plugin-0.1-py3-none-any.whl"), found, apart=True)
    assert [(one.name, one.distribution, one.version) for one in (old, new)] == [
        ("old", "old-plugin", "0.1"),
        ("new", "new-plugin", "0.1"),
    ]
    assert old.notes == ("its identify is not called: that runs in the host's own process",)
    return found


def config_of(isolated: Isolated, root: Path, **plugins: dict[str, Any]) -> Config:
    (root / "inbox").mkdir(exist_ok=True)
    return Config.model_validate(
        {
            "paths": {"data": str(isolated.folder.parent), "outbox": str(root / "outbox")},
            "inbox": [{"path": str(root / "inbox"), "quiet": 0.05}],
            "plugins": {**BUILT_IN_OFF, **plugins},
        }
    )


async def captions(config: Config, root: Path, name: str) -> dict[str, str]:
    (root / "inbox" / name).write_text(f"the text {name} of {root}")
    async with open_app(config) as app:
        await app.run(once=True)
    found = json.loads((root / "outbox" / f"{name}.json").read_text())
    assert found["failures"] == []
    return {one["plugin"]: one["data"]["text"] for one in found["results"] if one["type"] == "caption"}


async def test_two_plugins_that_need_different_versions_of_one_library_work_beside_each_other(isolated, tmp_path):
    said = await captions(config_of(isolated, tmp_path, new={"greeting": "here is"}), tmp_path, "a.txt")
    homes = {home.folder.name: home.folder / "venv" for home in isolated.homes()}
    assert said == {
        "old": f"this is 1.0 of {homes['old-plugin']}",
        "new": f"here is 2.0 of {homes['new-plugin']}",
    }
    assert "clashing_library" not in sys.modules, "the host imported none of it"


async def test_the_host_knows_them_as_if_they_were_its_own(isolated, tmp_path, capfd):
    config = config_of(isolated, tmp_path)
    async with open_app(config, read_only=True) as app:
        plugin = app.registry.usable["old"]
        (view,) = [view for view in await app.plugins() if view.name == "old"]
    assert (plugin.spec.memory_mb, plugin.settings) == (77, {"greeting": "this is"})
    assert plugin.hooks == {"settings_class", "model_spec", "load", "on_text"}
    assert (view.version, view.distribution, view.isolated, view.problem) == ("0.1", "old-plugin", True, "")
    assert "hello" not in capfd.readouterr().out


async def test_settings_are_checked_by_the_plugin_s_own_class_with_the_host_s_words(isolated, tmp_path):
    for wrong, message in (
        ({"greeting": 5}, "`plugins.old.greeting` should be a text in quotes, not 5."),
        ({"greting": "a"}, "`greting` is not a setting of [plugins.old]; did you mean `greeting`?"),
    ):
        with pytest.raises(InvalidConfig) as raised:
            async with open_app(config_of(isolated, tmp_path, old=wrong), read_only=True):
                pass
        assert message in str(raised.value)


async def test_nobody_is_asked_twice_and_an_upgraded_host_asks_again(isolated, tmp_path, monkeypatch):
    config = config_of(isolated, tmp_path)
    async with open_app(config):
        pass
    asked: list[str] = []
    ask = isolation.Home.ask
    monkeypatch.setattr(isolation.Home, "ask", lambda self, tables: asked.extend(tables) or ask(self, tables))
    async with open_app(config):
        assert asked == []
    version = isolation.metadata.version
    monkeypatch.setattr(isolation.metadata, "version", lambda name: "99.0" if name == "sensorium" else version(name))
    link = isolated.folder / "contract" / "hooks"
    link.unlink()
    link.symlink_to(tmp_path / "the hooks of an older host")
    async with open_app(config) as app:
        assert sorted(asked) == ["new", "old"]
        assert {"new", "old"} <= app.registry.usable.keys()
    assert link.resolve() == Path(isolation.__file__).parents[1] / "hooks"


async def test_one_whose_python_is_gone_is_listed_with_what_to_do(isolated, tmp_path):
    copy = Isolated(tmp_path / "data" / "plugins")
    shutil.copytree(isolated.folder, copy.folder, symlinks=True)
    (copy.folder / "old-plugin" / "venv" / "bin" / "python").unlink()
    (copy.folder / "new-plugin" / "venv" / "lib").joinpath(f"python{isolation.VERSION}").rename(
        copy.folder / "new-plugin" / "venv" / "lib" / "python3.1"
    )
    async with open_app(config_of(copy, tmp_path)) as app:
        problems = {view.name: view.problem for view in await app.plugins()}
    assert "is gone. Install the plugin again with `sensorium plugin install --isolated`." in problems["old"]
    assert f"made for python3.1, the host runs on Python {isolation.VERSION}." in problems["new"]


def test_what_cannot_be_used_is_not_installed_and_leaves_nothing(isolated, shelf, plugin_path):
    install_plugin(plugin_path, "taken", MEASURE)
    make_wheel(shelf, "other-plugin", "1.0", {"other": "from hooks import hookimpl"}, plugins={"taken": "other"})
    before = sorted(isolated.folder.iterdir())
    for package, words in (
        ("no-plugin", "no-plugin has no plugin."),
        ("broken-plugin", "No module named 'nobody_has_this'"),
        ("other-plugin", "test-plugin-taken has a plugin called taken already."),
        ("no-such-package", "no-such-package was not installed: "),
    ):
        with pytest.raises(HostError) as raised:
            install(package, isolated, apart=True)
        assert words in str(raised.value)
    assert sorted(isolated.folder.iterdir()) == before


def test_a_newer_version_takes_the_older_one_s_place_and_uninstall_takes_it_away(shelf, tmp_path):
    isolated = Isolated(tmp_path / "data" / "plugins")
    install("old-plugin", isolated, apart=True)
    make_wheel(
        shelf / "later", "old-plugin", "0.2", {"old_plugin": PLUGIN}, needs=["clashing-library"],
        plugins={"old": "old_plugin"},
    )  # fmt: skip
    (newer,) = install(str(shelf / "later" / "old_plugin-0.2-py3-none-any.whl"), isolated, apart=True)
    assert newer.version == "0.2"
    assert [point.dist.version for point in isolated.entry_points()] == ["0.2"]
    assert uninstall("old", isolated) == "old-plugin"
    assert [path.name for path in isolated.folder.iterdir()] == ["contract"]


def test_the_command_line_installs_lists_disables_and_uninstalls(shelf, tmp_path):
    runner, app = CliRunner(), build()
    options = ["--data", str(tmp_path / "data")]
    said = runner.invoke(app, ["plugin", "install", "--isolated", "new-plugin", *options])
    assert said.exit_code == 0, said.output
    assert "new 0.1, from new-plugin, is installed in an environment of its own." in " ".join(said.output.split())
    listed = runner.invoke(app, ["plugin", "list", "--json", *options])
    (view,) = [view for view in json.loads(listed.output) if view["name"] == "new"]
    assert (view["isolated"], view["off"]) == (True, "")
    assert runner.invoke(app, ["plugin", "disable", "new", *options]).exit_code == 0
    listed = runner.invoke(app, ["plugin", "list", "--json", *options])
    assert [view["off"] for view in json.loads(listed.output) if view["name"] == "new"] == ["disabled"]
    assert "from its next start on" in runner.invoke(app, ["plugin", "enable", "new", *options]).output
    refused = runner.invoke(app, ["plugin", "uninstall", "clip", *options])
    assert refused.exit_code == 2
    assert "comes with the host" in refused.output
    assert runner.invoke(app, ["plugin", "uninstall", "new-plugin", *options]).exit_code == 0
    assert runner.invoke(app, ["plugin", "uninstall", "new", *options]).exit_code == 5


def test_the_conformance_check_tries_a_plugin_in_its_own_environment(isolated, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text(f'[paths]\ndata = "{isolated.folder.parent}"\n')
    ended = CliRunner().invoke(build(), ["plugin", "check", "old", "--json"])
    assert ended.exit_code == 0, ended.output
    checks = {one["name"]: one for one in json.loads(ended.stdout)["checks"]}
    assert checks["results"]["found"] == "lines.txt: caption"
    assert {name for name, one in checks.items() if one["state"] != "ok"} == {"import"}
    assert "it prints 'hello from the import'" in checks["import"]["found"]
