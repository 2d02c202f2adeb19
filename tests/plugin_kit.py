"""Plugins for tests: written as source, installed as any distribution is, found by their entry point.

A host in this process sees what is installed under `plugin_path`; so do its workers and any host started as a child.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest

# Settings that switch off the plugins that come with the host, where a test has some of its own.
_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BUILT_IN_OFF: dict[str, dict[str, Any]] = {name: {"enabled": False} for name in _PROJECT["entry-points"]["sensorium"]}

# Says the size and the hash of every content; no model, no heavy import.
MEASURE = """
import hashlib
from hooks import ResultData, hookimpl

class Measured(ResultData):
    type = "measured"
    size: int
    sha256: str

def measure(events):
    for event in events:
        content = event.open().read()
        yield event.result(Measured(size=len(content), sha256=hashlib.sha256(content).hexdigest()))

@hookimpl
def on_image(events): return measure(events)
@hookimpl
def on_text(events): return measure(events)
@hookimpl
def on_data(events): return measure(events)
"""


def install_plugin(folder: Path, name: str, source: str, *, version: str = "1.0") -> str:
    """Install a plugin called `name` with this source under `folder`; the name of its module.

    The module is named by its source as well, so that no test gets another's plugin from `sys.modules`.
    """
    module = f"plugin_{name.replace('-', '_')}_{hashlib.sha256(f'{folder}{source}'.encode()).hexdigest()[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(source)
    info = folder / f"test_plugin_{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: test-plugin-{name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[sensorium]\n{name} = {module}\n")
    importlib.invalidate_caches()
    return module


@pytest.fixture
def plugin_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for `install_plugin`, on the path of this process and of its children."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", python_path(folder))
    return folder


def python_path(folder: Path) -> str:
    """PYTHONPATH for a child that shall find what is installed in `folder`."""
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))
