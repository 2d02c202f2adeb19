"""`sensorium mqtt`: what is published is seen, and mistakes are told."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys

import pytest

from tests.end_to_end.host_process import until
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


@pytest.fixture
def hosted(tmp_path):
    """A host with a broker of its own on a port that nobody could guess: the one that it wished for is taken."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        off = "[plugins.clip]\nenabled = false\n[plugins.metadata]\nenabled = false\n"
        (tmp_path / "config.toml").write_text(f'[mqtt]\nbroker = "embedded"\nembedded_port = {taken}\n{off}')
        command = [sys.executable, "-m", "host", "run"]
        with (tmp_path / "said").open("wb") as said:
            process = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said)
        until(lambda: (tmp_path / "data" / "control.sock").exists())
        yield taken
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_the_broker_of_a_host_is_found_through_the_host_and_its_limits_stand_on_the_first_screen(tmp_path, hosted):
    (tmp_path / "note.txt").write_text("hello")
    published = sensorium(tmp_path, "publish", "note.txt", "--topic", "sensorium/kept", "--retain")
    assert published.returncode == 0, published.stderr
    seen = sensorium(tmp_path, "watch", "--topic", "sensorium/kept", "--count", "1", "--json")
    assert json.loads(seen.stdout)["text"] == "hello"
    (tmp_path / "elsewhere").mkdir()
    far = ("watch", "--topic", "sensorium/kept", "--count", "1", "--data", str(tmp_path / "data"))
    assert "hello" in sensorium(tmp_path / "elsewhere", *far).stdout
    screen = (tmp_path / "said").read_text()
    assert f"port {hosted} is taken" in screen
    assert "keeps nothing for who is away" in screen
    assert "warning" not in screen


def test_without_its_host_an_embedded_broker_is_nowhere(tmp_path):
    (tmp_path / "config.toml").write_text('[mqtt]\nbroker = "embedded"\n')
    done = sensorium(tmp_path, "watch")
    assert done.returncode == 2
    assert "`sensorium run`" in done.stderr


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


def test_without_a_topic_all_that_the_host_says_and_takes_in_is_watched(tmp_path, broker):
    subscribe = '[[mqtt.subscribe]]\ntopic = "$share/hosts/cams/{room}/#"\n'
    (tmp_path / "config.toml").write_text(f'[mqtt]\nbroker = "{broker.url}"\nbase_topic = "home"\n{subscribe}')
    (tmp_path / "note.txt").write_text("hello")
    for topic in ("cams/kitchen/1", "home/results/x/y", "elsewhere"):
        assert sensorium(tmp_path, "publish", "note.txt", "--topic", topic, "--retain").returncode == 0
    seen = sensorium(tmp_path, "watch", "--count", "2", "--json").stdout
    assert {json.loads(line)["topic"] for line in seen.splitlines()} == {"cams/kitchen/1", "home/results/x/y"}


def test_a_watcher_waits_for_a_broker_that_goes_away(tmp_path, broker):
    (tmp_path / "note.txt").write_text("hello")
    command = [sys.executable, "-m", "host", "mqtt", "watch", "--count", "1"]
    with (tmp_path / "said").open("wb") as said:
        watcher = subprocess.Popen(command, cwd=tmp_path, stdout=said, stderr=said)
    until(lambda: "as sensorium-cli-" in broker.log)
    broker.stop()
    until(lambda: "tried again" in (tmp_path / "said").read_text())
    broker.start()
    until(lambda: "Connected again" in (tmp_path / "said").read_text())
    until(lambda: watcher.poll() is not None or sensorium(tmp_path, "publish", "note.txt", "--topic", "sensorium/x"))
    assert watcher.wait(30) == 0
    assert "hello" in (tmp_path / "said").read_text()


def test_a_broker_that_is_away_is_told(tmp_path, broker):
    broker.stop()
    done = sensorium(tmp_path, "watch")
    assert done.returncode == 1
    assert "cannot be reached" in " ".join(done.stderr.split())
