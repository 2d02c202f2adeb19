"""A real mosquitto on a free port of this machine, with folders of its own."""

from __future__ import annotations

import contextlib
import getpass
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

BINARY = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
STARTS_IN = 20.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Mosquitto:
    """A broker that keeps its sessions across `stop` and `start`; `settings` are further lines of its configuration."""

    def __init__(self, folder: Path, settings: str = "allow_anonymous true", port: int = 0) -> None:
        assert BINARY, "mosquitto is not installed: `make system` installs it where apt-get is there"
        self.port = port or free_port()
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "mosquitto.conf"
        lines = (
            f"listener {self.port} 127.0.0.1",
            f"user {getpass.getuser()}",
            "persistence true",
            f"persistence_location {folder}/",
            "max_queued_messages 0",
            f"log_dest file {folder}/mosquitto.log",
            settings,
        )
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "mosquitto.log").read_text(errors="replace")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self.folder / "stderr").open("ab") as errors:
            self._process = subprocess.Popen([str(BINARY), "-c", str(self._config)], stdout=errors, stderr=errors)
        deadline = time.monotonic() + STARTS_IN
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert self._process.poll() is None, (self.folder / "stderr").read_text(errors="replace")
            assert time.monotonic() < deadline, "mosquitto does not listen"
            time.sleep(0.01)

    def stop(self) -> None:
        """End it as a system does, so that it keeps what it has."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)
            self._process = None


def password_lines(file: Path, user: str, password: str) -> str:
    """What makes a mosquitto let in this user alone."""
    file.touch(0o600)
    tool = shutil.which("mosquitto_passwd", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    assert tool, "mosquitto_passwd comes with mosquitto"
    subprocess.run([tool, "-b", str(file), user, password], check=True, capture_output=True)
    return f"allow_anonymous false\npassword_file {file}"


@contextlib.contextmanager
def mosquitto(folder: Path, settings: str = "allow_anonymous true") -> Iterator[Mosquitto]:
    """A running broker, gone afterwards."""
    broker = Mosquitto(folder, settings)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()
