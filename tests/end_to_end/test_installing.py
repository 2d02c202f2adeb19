"""Plugins are installed beside the host, never at its cost: a host in an environment of its own, by the command line.

These are the commands of docs/plugins/isolation.md; `--isolated` is in test_isolated_plugins.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.host.wheels import make_wheel
from tests.plugin_kit import MEASURE

ROOT = Path(__file__).parents[2]


class Place:
    """An environment that has all that this one has, to be installed into, and wheels to install."""

    def __init__(self, root: Path) -> None:
        self.root, self.shelf = root, root / "shelf"
        venv.create(root / "venv", with_pip=False, symlinks=True)
        (site,) = (root / "venv" / "lib").glob("python*/site-packages")
        (site / "behind.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
        self.site = site

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.shelf), "COLUMNS": "500"}
        command = [str(self.root / "venv" / "bin" / "python"), "-m", "host", "plugin", *arguments]
        options = ["--data", str(self.root / "data")]
        return subprocess.run([*command, *options], cwd=self.root, env=environment, capture_output=True, text=True)

    def listed(self) -> dict[str, str]:
        return {view["name"]: view["version"] for view in json.loads(self.run("list", "--json").stdout)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_a_plugin_is_installed_into_the_host_s_environment_unless_that_would_change_what_the_host_needs(place):
    plugins = {"measuring": "measuring"}
    make_wheel(place.shelf, "measuring-plugin", "1.0", {"measuring": MEASURE}, plugins=plugins)
    said = place.run("install", "measuring-plugin")
    assert said.returncode == 0, said.stderr
    assert "measuring 1.0, from measuring-plugin, is installed. A host that runs now" in said.stdout
    assert place.listed()["measuring"] == "1.0"

    wheel = make_wheel(place.shelf / "newer", "measuring-plugin", "1.1", {"measuring": MEASURE}, plugins=plugins)
    assert place.run("install", str(wheel)).returncode == 0
    assert place.listed()["measuring"] == "1.1"

    make_wheel(place.shelf, "pydantic", "99.0", {"pydantic": ""})
    greedy = {"greedy": "greedy"}
    make_wheel(place.shelf, "greedy-plugin", "1.0", {"greedy": ""}, needs=["pydantic>=99"], plugins=greedy)
    said = place.run("install", "greedy-plugin")
    assert said.returncode == 1
    assert "sensorium plugin install --isolated" in " ".join(said.stderr.split())

    make_wheel(place.shelf, "no-plugin", "1.0", {"no_plugin": ""})
    said = place.run("install", "no-plugin")
    assert said.returncode == 1
    assert "no-plugin has no plugin." in said.stderr
    assert not (place.site / "no_plugin.py").exists(), "it is taken away again"

    said = place.run("uninstall", "measuring")
    assert said.returncode == 0, said.stderr
    assert "measuring" not in place.listed()
    assert {path.stem for path in place.site.glob("*.py")}.isdisjoint({"measuring", "greedy", "pydantic"})
