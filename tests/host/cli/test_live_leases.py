"""`sensorium leases` on a terminal: the table again and again, until Ctrl-C."""

import os
import pty
import signal
import subprocess
import sys

import pytest


class Terminal:
    """A terminal and what was written to it so far."""

    def __init__(self, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "host", *words]
        self.process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**os.environ, "COLUMNS": "140"})
        os.close(theirs)
        self.shown = ""

    def until(self, words: str) -> None:
        """Read until the words are there, behind what was read before."""
        begin = len(self.shown)
        while words not in self.shown[begin:]:
            chunk = os.read(self._ours, 65536)
            assert chunk
            self.shown += chunk.decode("utf-8", "replace")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(here):
    opened = []

    def open_one(*words: str) -> Terminal:
        opened.append(Terminal(*words))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


def test_the_table_follows_the_host_until_ctrl_c(terminal, host):
    screen = terminal("leases")
    screen.until("phi-3.5")
    host.withdrawn = "quiet hours until 18:00"
    screen.until("withdrawn: quiet hours until 18:00")
    host.withdrawn = ""
    screen.until("lease")
    screen.process.send_signal(signal.SIGINT)
    assert screen.process.wait(20) == 0


def test_without_a_host_it_shows_the_last_that_is_known(terminal):
    screen = terminal("leases")
    screen.until("No host runs here")
    screen.process.send_signal(signal.SIGINT)
    assert screen.process.wait(20) == 0


def test_once_is_shown_and_done(terminal, host):
    screen = terminal("leases", "--once")
    screen.until("phi-3.5")
    assert screen.process.wait(20) == 0
