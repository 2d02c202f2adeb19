"""The site is built without a warning, and asks nobody else for anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
# What a browser fetches by itself; a link that a person follows may lead anywhere.
FETCHED = re.compile(r'<(?:script|img|iframe|source|link)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*"|@import\s+"?http')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built_and_within_reach(site):
    navigation = str(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    for page in (ROOT / "docs").rglob("*.md"):
        path = page.relative_to(ROOT / "docs")
        assert (site / path.with_suffix(".html")).is_file(), path
        assert path.as_posix() in navigation, f"{path} is not in the nav of mkdocs.yml"


def test_nothing_is_fetched_from_elsewhere(site):
    found = {path.name: FETCHED.findall(path.read_text()) for path in [*site.rglob("*.html"), *site.rglob("*.css")]}
    assert {name: urls for name, urls in found.items() if urls} == {}


def test_the_generated_pages_hold_what_the_code_says(site):
    assert "How many names to tell, best first" in (site / "reference" / "settings.html").read_text()
    assert "Find files, and moments of recordings" in (site / "reference" / "commands.html").read_text()
    assert "Worker: look at pictures" in (site / "plugins" / "hooks.html").read_text()
