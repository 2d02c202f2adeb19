"""`sensorium mqtt`: what is published is seen, and mistakes are told."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.mosquitto import mosquitto


@pytest.fixture
def broker(tmp_path):
    with mosquitto(tmp_path / "broker") as broker:
        (tmp_path / "config.toml").write_text(f'[mqtt]\nbroker = "{broker.url}"\n')
        yield broker


def sensorium(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "host", "mqtt", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_a_published_file_is_seen_by_who_watches(tmp_path, broker):
    (tmp_path / "note.txt").write_text("hello")
    published = sensorium(tmp_path, "publish", "note.txt", "--topic", "sensorium/in/desk/note", "--retain")
    assert published.returncode == 0, published.stderr
    assert "Published 5 bytes" in published.stdout
    seen = sensorium(tmp_path, "watch", "--count", "1", "--json")
    assert json.loads(seen.stdout) == {"topic": "sensorium/in/desk/note", "bytes": 5, "retained": True, "text": "hello"}
    assert "hello" in sensorium(tmp_path, "watch", "--count", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("publish", "note.txt", "--topic", "a/#"), "no wildcards"),
        (("publish", "nothing.txt", "--topic", "a"), "cannot be read"),
        (("watch", "--topic", "a/#/b"), "the last level"),
    ],
)
def test_what_cannot_be_done_is_told_with_exit_code_2(tmp_path, broker, arguments, words):
    (tmp_path / "note.txt").write_text("hello")
    done = sensorium(tmp_path, *arguments)
    assert done.returncode == 2
    assert words in " ".join(done.stderr.split())


def test_without_a_broker_it_says_what_to_set(tmp_path):
    done = sensorium(tmp_path, "watch")
    assert done.returncode == 2
    assert "[mqtt]" in done.stderr


def test_a_broker_that_is_away_is_told(tmp_path, broker):
    broker.stop()
    done = sensorium(tmp_path, "watch")
    assert done.returncode == 1
    assert "cannot be reached" in " ".join(done.stderr.split())
