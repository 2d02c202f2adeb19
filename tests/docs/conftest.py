"""One host for all the pages: what they speak of is there, so that their commands run as they stand."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from host.control import SOCKET_NAME
from tests.end_to_end.host_process import until
from tests.mosquitto import free_port
from tools.drawn_world import Scene, write_scenes

SCENES = (Scene("cat", "black", "table"), Scene("circle", "red", "white", position="left"))
USED = ("clip", "espeak", "metadata")  # the others would work on the same few files for longer
CONFIGURATION = """
[[inbox]]
path = "inbox"
quiet = 0.05

[mqtt]
broker = "embedded"
embedded_port = {port}

[plugins.clip]
threads = 1
"""


@dataclass(frozen=True)
class PagesPlace:
    """The folder in which the shell blocks run, with a host at work there."""

    root: Path

    @property
    def environment(self) -> dict[str, str]:
        """`sensorium` is on the path, and `~` is the folder itself."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PATH": path, "HOME": str(self.root), "COLUMNS": "120"}

    def run(self, script: str, limit: float = 240) -> tuple[int, str]:
        """Run a script as a person would type it, and end what it left in the background; its exit code and output."""
        with tempfile.TemporaryFile("w+") as output:
            shell = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script], cwd=self.root, env=self.environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip
            try:
                code = shell.wait(limit)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()
            output.seek(0)
            return code, output.read()

    def answer(self, *words: str) -> Any:
        """What a command prints for machines."""
        command = [sys.executable, "-m", "host", *words, "--json"]
        done = subprocess.run(command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=240)
        return json.loads(done.stdout)

    def sidecar(self, name: str) -> Any:
        path = self.root / "outbox" / f"{name}.json"
        until(path.exists, limit=120)
        return json.loads(path.read_text())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PagesPlace]:
    root = tmp_path_factory.mktemp("place")
    place = PagesPlace(root)
    off = "".join(f"[plugins.{name}]\nenabled = false\n" for name in _others())
    (root / "config.toml").write_text(CONFIGURATION.format(port=free_port()) + off)
    _fill(root)
    with (root / "host.log").open("w") as log:
        command = [sys.executable, "-m", "host", "run"]
        process = subprocess.Popen(command, cwd=root, env=place.environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        until(lambda: (root / "data" / SOCKET_NAME).exists() or process.poll() is not None, limit=120)
        found = place.answer("submit", "cat.png", "broken.png", "--wait")
        assert [one["state"] for one in found] == ["done", "failed"], (root / "host.log").read_text()
        yield place
        process.send_signal(signal.SIGINT)
        process.wait(120)
    finally:
        process.kill()
        process.wait()


def _others() -> list[str]:
    return sorted({point.name for point in entry_points(group="sensorium")} - set(USED))


def _fill(root: Path) -> None:
    """The files that the pages name."""
    cat, circle = write_scenes(root / "pictures", SCENES, seed=7)
    (root / "inbox" / "trip").mkdir(parents=True)
    (root / "cat.png").write_bytes(cat.path.read_bytes())
    (root / "cat.jpg").write_bytes(cat.path.read_bytes())
    (root / "inbox" / "trip" / "cat.png").write_bytes(cat.path.read_bytes())
    (root / "photo.jpg").write_bytes(circle.path.read_bytes())
    (root / "broken.png").write_bytes(cat.path.read_bytes()[:200])
    (root / "note.txt").write_text("A parcel was left at the door of the kitchen.\n")
