"""The log: nothing before it is started, then a bounded file that holds everything, and a terminal that is safe."""

import io
import json
import logging
import subprocess
import sys

import pytest

from host import log as log_module
from host.log import get_logger, printable, start_logging, stop_logging


@pytest.fixture
def file(tmp_path):
    yield tmp_path / "logs" / "host.log"
    stop_logging()


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_nothing_is_imported_or_written_before_it_is_started():
    program = (
        "import sys; from host.log import get_logger; get_logger('x').error('lost', n=1); "
        "sys.exit('structlog' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


def test_a_line_of_the_file_is_json_with_the_facts(file):
    start_logging("info", file, terminal=False)
    get_logger("host.x").info("model loaded", seconds=2, path=file)
    (line,) = lines(file)
    assert (line["event"], line["level"], line["logger"]) == ("model loaded", "info", "host.x")
    assert (line["seconds"], line["path"]) == (2, str(file))


def test_what_is_below_the_level_is_left_out(file):
    start_logging("warning", file, terminal=False)
    log = get_logger("x")
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert [line["event"] for line in lines(file)] == ["c", "d"]


def test_what_libraries_log_is_in_the_file_too(file):
    start_logging("info", file, terminal=False)
    logging.getLogger("asyncio").error("Task exception was never retrieved")
    logging.getLogger("watchdog.observers").info("chatter")
    assert [line["event"] for line in lines(file)] == ["Task exception was never retrieved"]


def test_an_exception_comes_with_its_traceback(file):
    start_logging("info", file, terminal=False)
    try:
        raise ValueError("odd")
    except ValueError:
        get_logger("x").exception("it broke")
    assert "ValueError: odd" in lines(file)[0]["exception"]


def test_the_files_stay_bounded_over_months(file, monkeypatch):
    monkeypatch.setattr(log_module, "FILE_BYTES", 1_000)
    start_logging("info", file, terminal=False)
    for number in range(200):
        get_logger("x").info("line", number=number, text="x" * 100)
    kept = sorted(file.parent.iterdir())
    assert len(kept) == 1 + log_module.OLD_FILES
    assert all(path.stat().st_size <= 1_000 for path in kept)
    assert lines(file)[-1]["number"] == 199


def test_standard_error_gets_json_when_it_is_no_terminal(file, capsys):
    start_logging("info", file)
    get_logger("x").info("hello", name="a")
    assert json.loads(capsys.readouterr().err)["event"] == "hello"


def test_names_of_files_cannot_steer_the_terminal(file, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    start_logging("info", file)
    try:
        raise ValueError("bad \x1b]0;title\x07 name")
    except ValueError:
        get_logger("x").exception("refused \x1b[2J", file="a\x1b[31m\nb\u202e")
    shown = terminal.getvalue()
    assert r"a\x1b[31m\nb\u202e" in shown
    assert "ValueError: bad \\x1b]0;title\\x07 name" in shown
    assert "\x1b[2J" not in shown
    assert "\x1b]" not in shown


def test_a_terminal_that_is_gone_does_not_stop_the_host(file, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    start_logging("info", file)
    terminal.close()
    get_logger("x").info("hello")
    assert lines(file)[0]["event"] == "hello"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Ünïcode 猫 👩‍👧", "Ünïcode 猫 👩‍👧"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31m\x07\x7f\x9b", r"\x1b[31m\x07\x7f\x9b"),
        ("evil\u202egnp.exe", r"evil\u202egnp.exe"),
        ("one\u2028two", r"one\u2028two"),
        ("odd-\udcff", r"odd-\xff"),
        ("\ud800", r"\ud800"),
    ],
)
def test_text_is_shown_with_escapes_for_what_is_not_safe(text, shown):
    assert printable(text) == shown
    printable(text).encode()
