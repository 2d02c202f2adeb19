"""What the command line says of itself, how fast it is there, and what plugins add to it."""

import inspect
import subprocess
import sys

import pytest

from host import errors
from host.cli import EXIT_CODES, build, extensions
from tests.plugin_kit import install_plugin

HEAVY = ("torch", "open_clip", "numpy", "PIL", "structlog", "watchdog", "aiosqlite", "hnswlib", "host.app", "plugins")
COMMANDER = """
from hooks import hookimpl

@hookimpl
def register_commands(app):
    @app.command()
    def greet(name: str) -> None:
        "Say hello."
        print(f"hello {name}")

    @app.command()
    def status() -> None:
        raise SystemExit("not ours")
"""
RAISER = """
from hooks import hookimpl

@hookimpl
def register_commands(app):
    raise RuntimeError("no commands today")
"""


@pytest.fixture
def fresh_commands():
    extensions.plugin_commands.cache_clear()
    yield
    extensions.plugin_commands.cache_clear()


def test_every_command_of_the_tour_is_there(cli):
    shown = cli("--help").out
    for name in ("run", "submit", "status", "leases", "results", "why", "requeue", "search", "plugins", "models",
                 "plan", "pause", "resume", "doctor", "config"):  # fmt: skip
        assert f"│ {name} " in shown


def test_the_help_says_what_every_exit_code_means(cli):
    shown = " ".join(cli("--help").out.split())
    assert EXIT_CODES in shown
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.HostError):
            assert f" {kind.exit_code} " in EXIT_CODES, kind


def test_every_command_and_option_is_described():
    from typer.main import get_command

    for name, command in get_command(build()).commands.items():
        assert command.help, name
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_the_version_is_told(cli):
    assert cli("--version").out.startswith("sensorium ")


def test_a_question_to_a_running_host_loads_nothing_heavy(host, here):
    program = (
        "import sys; sys.argv = ['sensorium', 'status', '--json']\n"
        "from host.__main__ import main\n"
        "try: main()\n"
        f"finally: print([name for name in {(*HEAVY, 'rich.table')!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=here)
    assert done.stderr == "[]\n"
    assert '"running": 4711' in done.stdout


def test_a_terminal_without_unicode_is_shown_what_it_can_show(host, here):
    host.add("cat-ü-猫.png", "a cat")
    command = [sys.executable, "-m", "host", "results"]
    done = subprocess.run(command, capture_output=True, cwd=here, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert rb"cat-\xfc-\u732b.png" in done.stdout


def test_a_reader_that_stops_reading_is_no_error(host, here):
    for number in range(300):
        host.add(f"{number}.png", "x" * 250)
    command = f"{sys.executable} -m host results --limit 300 | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, cwd=here)
    assert done.stdout.startswith("Event ")
    assert done.stderr == ""


# --- commands of plugins ---


def test_a_plugin_can_add_a_command(cli, plugin_path, fresh_commands):
    install_plugin(plugin_path, "commander", COMMANDER)
    assert cli("greet", "world").out == "hello world\n"
    assert "Say hello." in cli("--help").out


def test_a_plugin_cannot_replace_our_commands(cli, host, plugin_path, fresh_commands):
    install_plugin(plugin_path, "commander", COMMANDER)
    assert "Running (process 4711)" in cli("status").out


def test_a_plugin_that_fails_to_add_its_commands_does_no_harm(cli, plugin_path, fresh_commands):
    install_plugin(plugin_path, "commander", COMMANDER)
    install_plugin(plugin_path, "raiser", RAISER)
    assert cli("greet", "world").code == 0
    assert cli("nope").code == 2
