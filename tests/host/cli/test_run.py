"""`sensorium run` as people start it: a real process, real signals, real workers."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from host.cli.run import progress_line
from host.control import SOCKET_NAME
from host.views import EventView, MqttView, Status, Submitted
from tests.fakes import FakeService
from tests.plugin_kit import BUILT_IN_OFF, MEASURE, install_plugin

SENSORIUM = [sys.executable, "-m", "host"]
OURS_OFF = "".join(f"[plugins.{name}]\nenabled = false\n" for name in BUILT_IN_OFF)
QUICK = f'[[inbox]]\npath = "inbox"\nquiet = 0.05\n[jobs]\nattempts = 1\n{OURS_OFF}'
RAISES = """
from hooks import hookimpl

@hookimpl
def on_text(events):
    raise ValueError("no words for this")
"""
HANGS = """
import time
from hooks import hookimpl

@hookimpl
def on_text(events):
    open({fifo!r}, "w").close()
    time.sleep(600)
"""


@pytest.fixture
def place(here, plugin_path):
    (here / "config.toml").write_text(QUICK)
    (here / "inbox").mkdir()
    install_plugin(plugin_path, "measure", MEASURE)
    return here


def sensorium(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*SENSORIUM, *words], capture_output=True, text=True, timeout=120)


@contextmanager
def running(*words: str):
    """A host that listens; killed at the end if it is still there."""
    process = subprocess.Popen([*SENSORIUM, "run", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if json.loads(line)["event"] == "host started":
                break
        while process.poll() is None and not Path("data", SOCKET_NAME).exists():
            time.sleep(0.01)  # nothing tells another process that a socket is there
        yield process
    finally:
        process.kill()
        process.communicate()


# --- once ---


def test_once_works_off_what_is_there_and_ends_with_0(place):
    (place / "inbox" / "a.txt").write_text("hello")
    done = sensorium("run", "--once")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "Sensorium works off",
        f"  {place}/inbox  (files leave it once they are safe in the library)",
        f"results  {place}/outbox/NAME.json",
        f"data     {place}/data",
        "plugins  measure",
        f"1 job done; results are in {place}/outbox",
    ]
    assert json.loads((place / "outbox" / "a.txt.json").read_text())["results"][0]["data"]["size"] == 5
    assert list((place / "inbox").iterdir()) == []


def test_once_starts_no_broker_of_its_own(place):
    """Nobody can have sent anything to it, or hear it afterwards."""
    with (place / "config.toml").open("a") as file:
        file.write('[mqtt]\nbroker = "embedded"\n')
    (place / "inbox" / "a.txt").write_text("hello")
    done = sensorium("run", "--once")
    assert done.returncode == 0, done.stderr
    assert "mqtt" not in done.stdout
    assert "broker" not in done.stderr


def test_folders_of_the_command_line_are_enough(place):
    (place / "config.toml").unlink()
    (place / "c.toml").write_text(OURS_OFF)
    (place / "pictures").mkdir()
    (place / "pictures" / "a.txt").write_text("hello")
    done = sensorium(
        "run", "--once", "--inbox", "pictures", "--outbox", "found", "--data", "state", "--config", "c.toml"
    )
    assert done.returncode == 0, done.stderr
    assert (place / "found" / "a.txt.json").is_file()
    assert (place / "state" / "journal.db").is_file()
    assert not (place / "outbox").exists()
    assert not (place / "data").exists()


def test_once_ends_with_6_when_something_failed_or_was_refused(place, plugin_path):
    install_plugin(plugin_path, "raises", RAISES)
    (place / "inbox" / "a.txt").write_text("hello")
    os.mkfifo(place / "inbox" / "pipe")
    done = sensorium("run", "--once")
    assert done.returncode == 6
    assert "1 job done, 1 failed, 1 refused; results are in" in done.stdout
    assert "1 job failed, 1 file refused." in done.stderr
    assert "no words for this" in sensorium("status").stdout


def test_once_counts_only_what_it_did_itself(place, plugin_path):
    install_plugin(plugin_path, "raises", RAISES)
    (place / "inbox" / "a.txt").write_text("hello")
    assert sensorium("run", "--once").returncode == 6
    assert sensorium("run", "--once").returncode == 0


def test_what_happened_is_in_the_log_file(place):
    assert sensorium("run", "--once").returncode == 0
    events = [json.loads(line)["event"] for line in (place / "data" / "logs" / "host.log").read_text().splitlines()]
    assert "host started" in events


# --- a host that runs ---


def test_a_running_host_answers_commands_from_anywhere(place, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "b.txt").write_text("from afar")
    config = ["--config", str(place / "config.toml")]
    with running() as host:
        status = Status.model_validate_json(sensorium("status", "--json", *config).stdout)
        assert status.running == host.pid
        done = sensorium("submit", str(elsewhere / "b.txt"), "--wait", "--json", *config)
        (one,) = TypeAdapter(list[Submitted]).validate_json(done.stdout)
        assert (done.returncode, one.state) == (0, "done")
        (view,) = TypeAdapter(list[EventView]).validate_json(sensorium("results", one.event, "--json", *config).stdout)
        assert view.results[0].data["size"] == 9
        assert (elsewhere / "b.txt").exists()


def test_a_second_host_is_refused_and_told_who_the_first_is(place):
    with running() as host:
        second = sensorium("run")
        assert second.returncode == 4
        assert f"Error: A host (process {host.pid}) already works with {place}/data." in second.stderr


def test_without_a_host_a_command_does_the_work_itself(place):
    (place / "a.txt").write_text("hello")
    done = sensorium("submit", "a.txt", "--wait", "--json")
    (one,) = TypeAdapter(list[Submitted]).validate_json(done.stdout)
    assert (done.returncode, one.state) == (0, "done"), done.stderr
    (view,) = TypeAdapter(list[EventView]).validate_json(sensorium("results", "a.txt", "--json").stdout)
    assert view.event.id == one.event
    assert "No host runs here" in sensorium("status").stdout


def test_why_finds_a_file_of_an_inbox_by_its_bare_name(place):
    os.mkfifo(place / "inbox" / "pipe")
    assert sensorium("run", "--once").returncode == 6
    shown = sensorium("why", "pipe").stdout
    assert f"{place}/inbox/pipe: refused" in shown


def test_settings_for_a_plugin_that_is_not_there_are_a_mistake(place):
    (place / "config.toml").write_text(f"{QUICK}[plugins.mesure]\n")
    done = sensorium("run", "--once")
    assert done.returncode == 3
    assert "no plugin is called `mesure`; did you mean `measure`?" in done.stderr


def test_a_journal_that_cannot_be_read_ends_every_command_with_7(place):
    (place / "data").mkdir()
    (place / "data" / "journal.db").write_text("not a journal " * 1000)
    for words in (["run"], ["status"], ["results"]):
        done = sensorium(*words)
        assert done.returncode == 7
        assert f"Error: The journal {place}/data/journal.db cannot be used" in done.stderr
        assert "sensorium doctor" in done.stderr


# --- watching the status ---


def test_watching_as_json_prints_a_status_a_line_until_ctrl_c(host, here):
    words = [*SENSORIUM, "status", "--watch", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    paused = []
    for line in process.stdout:
        paused.append(Status.model_validate_json(line).paused)
        host.paused = True
        if paused[-1]:
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert paused[0] is False
    assert (process.returncode, err) == (0, "")


def test_watching_goes_on_when_the_host_ends(place):
    process = None
    seen = []
    try:
        with running() as started:
            words = [*SENSORIUM, "status", "--watch", "--json"]
            process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            for line in process.stdout:
                seen.append(Status.model_validate_json(line).running)
                if len(seen) == 1:
                    started.send_signal(signal.SIGINT)
                if seen[-1] is None:
                    break
    finally:
        process.kill()
        process.communicate()
    assert (seen[0], seen[-1]) == (started.pid, None)


# --- signals ---


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_host_cleanly(place, number):
    with running() as host:
        host.send_signal(number)
        _, err = host.communicate(timeout=60)
    assert host.returncode == 0, err
    assert "Stopping: what runs is finished first. Ctrl-C again stops now." in err
    assert not (place / "data" / "control.sock").exists()
    assert sensorium("run", "--once").returncode == 0


def test_the_second_ctrl_c_stops_at_once_whatever_the_workers_do(place, plugin_path):
    fifo = place / "busy"
    os.mkfifo(fifo)
    install_plugin(plugin_path, "hangs", HANGS.format(fifo=str(fifo)))
    (place / "inbox" / "a.txt").write_text("hello")
    with running() as host:
        fifo.read_text()  # returns when the worker is in its hook
        host.send_signal(signal.SIGINT)
        for line in host.stderr:
            if line.startswith("Stopping"):
                break
        host.send_signal(signal.SIGINT)
        host.communicate(timeout=30)
    assert host.returncode == 130


def test_once_that_was_stopped_does_not_end_with_0(place, plugin_path):
    fifo = place / "busy"
    os.mkfifo(fifo)
    install_plugin(plugin_path, "hangs", HANGS.format(fifo=str(fifo)).replace("600", "0.1"))
    (place / "inbox" / "a.txt").write_text("hello")
    with running("--once") as host:
        fifo.read_text()
        host.send_signal(signal.SIGINT)
        host.communicate(timeout=60)
    assert host.returncode == 130


@pytest.mark.parametrize("beside_a_host", [False, True])
def test_ctrl_c_ends_a_command_that_waits(place, plugin_path, beside_a_host):
    fifo = place / "busy"
    os.mkfifo(fifo)
    install_plugin(plugin_path, "hangs", HANGS.format(fifo=str(fifo)))
    (place / "a.txt").write_text("hello")
    with running() if beside_a_host else nullcontext():
        words = [*SENSORIUM, "submit", "--wait", "a.txt"]
        command = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        fifo.read_text()
        command.send_signal(signal.SIGINT)
        assert command.communicate(timeout=30) == ("", "")
        assert command.returncode == 130


# --- progress ---


def test_a_terminal_shows_how_far_it_is(place):
    (place / "inbox" / "a.txt").write_text("hello")
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*SENSORIUM, "run", "--once"], stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how a terminal says that nobody writes to it any more
        pass
    os.close(ours)
    assert process.wait(60) == 0
    assert b"\xc2\xb7 0 done" in shown
    assert b"host started" in shown


async def test_the_line_says_what_is_going_on():
    service = FakeService()
    service.add("a.png", None)
    service.add("b.png", "a cat")
    service.add("c.png", error="It broke.")
    assert progress_line(await service.status()).plain == "working · 1 queued · 1 done · 1 failed"
    service.events.clear()
    assert progress_line(await service.status()).plain == "watching · 0 done"
    service.withdrawn = "quiet hours until 18:00"
    expected = "watching · 0 done · cpu withdrawn (quiet hours until 18:00)"
    assert progress_line(await service.status()).plain == expected
    service.withdrawn = ""
    service.paused, service.alarm = True, "gone"
    assert progress_line(await service.status()).plain == "paused (`sensorium pause`) · 0 done · inbox: gone"
    service.mqtt = MqttView(broker="mqtt://b:1883", embedded=False, state="away", alarm="It is away.")
    assert progress_line(await service.status()).plain.endswith("inbox: gone · MQTT: It is away.")
