"""Each example, installed with pip from its folder, passes its own tests, which let a real host work with it."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/pyproject.toml"))
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
MOST_LINES = 70

# Folders that a session's fixtures made, by example: sources to install from, and what is installed.
Places = tuple[Path, Path]


def run(*words: str | Path, site: Path, folder: Path) -> str:
    """A command that sees what is installed in `site`; what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(ROOT))), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Places:
    """Copies of the examples (setuptools builds in place), and the folder that they are installed in."""
    folder = tmp_path_factory.mktemp("examples")
    sources, site = folder / "sources", folder / "site"
    shutil.copytree(ROOT / "examples", sources, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
    options = ("--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", site)
    run("pip", "install", *options, *(sources / name for name in EXAMPLES), site=site, folder=folder)
    for name in EXAMPLES:  # so that nothing but what is installed can be found
        shutil.rmtree(sources / name / "src")
        shutil.rmtree(sources / name / "build", ignore_errors=True)
    return sources, site


def code_lines(source: str) -> int:
    """Lines with code on them: not those that are blank, or hold a comment or a docstring."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    docstrings = {
        (node.body[0].lineno, node.body[0].col_offset)
        for node in ast.walk(tree)
        if isinstance(node, documented) and ast.get_docstring(node) is not None
    }
    tokens = [one for one in tokenize.generate_tokens(io.StringIO(source).readline) if one.type not in NO_CODE]
    return len({line for one in tokens if one.start not in docstrings for line in range(one.start[0], one.end[0] + 1)})


def test_there_is_an_example_of_each_sort():
    assert EXAMPLES == ["barcode", "gpx", "looks", "podcast", "webhook"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_small_whole_package(name):
    folder = ROOT / "examples" / name
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    ((plugin, module),) = project["entry-points"]["sensorium"].items()
    assert plugin == name
    assert f"[plugins.{name}]" in (folder / "README.md").read_text()
    assert code_lines((folder / "src" / module / "__init__.py").read_text()) < MOST_LINES


def test_a_host_lists_them_as_installed_distributions(installed):
    _, site = installed
    listed = json.loads(run("host", "plugins", "--json", site=site, folder=site.parent))
    found = {one["name"]: one["distribution"] for one in listed if one["distribution"] != "sensorium"}
    assert {name: found.get(name) for name in EXAMPLES} == {name: f"sensorium-{name}" for name in EXAMPLES}
    problems = {one["name"]: one["problem"] for one in listed if one["name"] in EXAMPLES and one["problem"]}
    assert all("off as long as there is no" in problem for problem in problems.values()), problems


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_installed_example_passes_its_own_tests(name, installed, tmp_path):
    sources, site = installed
    options = ("-p", "no:cacheprovider", "--basetemp", tmp_path / "base", "--durations=3")
    assert " passed" in run("pytest", "-q", *options, site=site, folder=sources / name)
