"""`sensorium plugin check`: the conformance check for people and for machines."""

import json

import pytest

from tests.hooks.conformance_plugins import GOOD


@pytest.fixture
def write(here):
    def write(name, source):
        path = here / f"{name}.py"
        path.write_text(source)
        return path

    return write


def test_the_command_shows_what_to_mend_and_ends_with_1(write, cli):
    torn = write("torn_plugin", "import nobody_has_this")
    ended = cli("plugin", "check", str(torn))
    assert ended.code == 1
    assert "import mend ModuleNotFoundError: No module named 'nobody_has_this'" in ended.flat
    assert "Import what may be missing inside load or the hook" in ended.flat
    assert "torn_plugin: 1 of 2 checks failed." in ended.err


def test_the_command_speaks_json_and_takes_settings_and_samples(write, cli, here):
    (here / "config.toml").write_text("[plugins.good_plugin]\nmost = 1000\n")
    (here / "short.txt").write_text("short")
    ended = cli("plugin", "check", str(write("good_plugin", GOOD)), "--json", "--sample", "short.txt")
    assert ended.code == 0, ended.err
    shown = json.loads(ended.out)
    assert (shown["plugin"], shown["module"], shown["ok"]) == ("good_plugin", "good_plugin", True)
    (results,) = [check["found"] for check in shown["checks"] if check["name"] == "results"]
    assert "short.txt: length" in results


def test_what_is_not_there_is_an_error_of_its_own(cli):
    assert cli("plugin", "check", "nobody-has-this").code == 5
    assert cli("plugin", "check", "metadata", "--sample", "nowhere.txt").code == 5
