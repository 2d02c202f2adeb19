"""The conformance check finds what would hurt a host, says what to mend, and finds nothing in plugins that are good."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from hooks.testing import check_plugin, trials
from hooks.testing.conformance import api_check, settings_checks
from hooks.testing.report import Report
from tests.hooks.conformance_plugins import GOOD, LEAKER, SINNER


def states(report: Report) -> dict[str, str]:
    return {check.name: check.state for check in report.checks}


def found(report: Report, name: str) -> str:
    return next(check.found for check in report.checks if check.name == name)


@pytest.fixture(autouse=True)
def a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about how fast a process ends."""
    monkeypatch.setattr(trials, "UNLOADS_WITHIN", 60.0)


@pytest.fixture
def write(tmp_path: Path):
    def write(name: str, source: str) -> Path:
        path = tmp_path / f"{name}.py"
        path.write_text(source)
        return path

    return write


def test_nothing_is_found_in_a_good_plugin(write):
    told = []
    report = check_plugin(write("good_plugin", GOOD), tell=told.append)
    assert report.ok, report
    assert report.checks == told
    names = ("import", "api", "hooks", "settings", "spec", "load", "results", "memory", "unload", "cancel", "empty",
             "broken", "huge")  # fmt: skip
    assert states(report) == dict.fromkeys(names, "ok")
    assert found(report, "huge") == "text: refused: too long"
    assert found(report, "results") == "lines.txt: length"


def test_what_would_hurt_a_host_is_found(write):
    report = check_plugin(write("sinner_plugin", SINNER))
    assert not report.ok
    assert states(report) == {
        "import": "failed", "api": "warning", "hooks": "ok", "settings": "ok", "spec": "failed", "identify": "failed",
        "load": "ok", "results": "failed", "unload": "failed", "cancel": "ok", "empty": "failed", "broken": "failed",
        "huge": "failed",
    }, report  # fmt: skip
    assert found(report, "import").startswith("it imports numpy ")
    assert "IndexError" in found(report, "identify")
    assert found(report, "results") == "lines.txt: caption holds a number that is none (NaN or infinite)"
    assert found(report, "empty") == "text: it raises KeyError: 'nothing there'"
    assert found(report, "broken") == "text: afterwards a good file gives something else"
    assert "exit status 7" in found(report, "huge")


def test_a_leak_children_that_stay_and_memory_beyond_what_is_declared_are_found(write):
    report = check_plugin(write("leaker_plugin", LEAKER))
    assert {name for name, state in states(report).items() if state == "failed"} == {
        "memory", "unload", "cancel", "huge",
    }, report  # fmt: skip
    assert "it grows by" in found(report, "memory")
    assert "1 processes that it started go on" in found(report, "unload")
    assert "outlive the worker" in found(report, "cancel")
    assert "declares 40" in found(report, "huge")


@pytest.mark.parametrize(
    ("source", "name", "said"),
    [
        ("import nobody_has_this", "import", "No module named 'nobody_has_this'"),
        ("import os; os._exit(4)", "import", "it ended the process with 4"),
        ("from hooks import *\n@hookimpl\ndef on_text(events, mood): pass", "hooks", "mood"),
        ("from hooks import *\n@hookimpl\ndef model_spec(): return 'small'", "hooks", "model_spec returned str"),
    ],
)
def test_a_plugin_that_the_host_could_not_even_open_is_looked_at_no_further(write, source, name, said):
    report = check_plugin(write("torn_plugin", source))
    assert states(report)[name] == "failed"
    assert states(report)["all else"] == "skipped"
    assert said in found(report, name)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("@hookimpl\ndef on_smell(events): pass", "on_smell is no hook"),
        ("def on_text(events): pass", "it implements none"),
        ("@hookimpl\ndef on_text(events): pass\n@hookimpl\ndef on_finished(event): pass", "on_finished beside on_text"),
    ],
)
def test_hooks_that_nobody_would_call_are_found(write, source, said):
    report = check_plugin(write("odd_plugin", f"from hooks import *\n{source}"), in_workers=False)
    assert states(report)["hooks"] == "failed"
    assert said in found(report, "hooks")


def test_a_plugin_that_needs_settings_is_tried_once_it_has_them(write):
    needy = write("needy_plugin", GOOD.replace("Field(1_000_000, ", "Field("))
    report = check_plugin(needy)
    assert report.ok
    assert states(report)["settings"] == states(report)["all else"] == "skipped"
    assert states(check_plugin(needy, settings={"most": 1000}))["results"] == "ok"


class Loose(BaseModel):
    size: int = Field(1, description="How large.")


class Silent(BaseModel):
    model_config = ConfigDict(extra="forbid")
    size: int = 1


def test_settings_that_let_mistakes_pass_are_found():
    assert [check.state for check in settings_checks(Loose, {"size": 1})] == ["failed"]
    assert [check.state for check in settings_checks(Silent, {"size": 1})] == ["warning"]


@pytest.mark.parametrize(("api", "state"), [(">=1,<2", "ok"), (None, "warning"), (">=2", "failed"), ("new", "failed")])
def test_the_declared_api_is_compared_with_this_one(api, state):
    assert api_check(type("Plugin", (), {"api": api})).state == state


@pytest.mark.parametrize("name", sorted(point.name for point in distribution("sensorium").entry_points
                                        if point.group == "sensorium"))  # fmt: skip
def test_what_the_code_of_the_plugins_that_come_with_the_host_says_is_as_it_should_be(name):
    report = check_plugin(name, in_workers=False)
    assert report.ok, report


@pytest.mark.parametrize("name", ["metadata", "timeline"])
def test_plugins_that_come_with_the_host_stand_the_whole_check(name):
    report = check_plugin(name)
    assert {check.state for check in report.checks} == {"ok"}, report
