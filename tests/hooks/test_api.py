"""A plugin says which versions of the hook API it is made for; what is added to the API breaks none that is there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pluggy
import pytest

from hooks import InvalidPlugin, hookimpl, hookspecs
from hooks.api import CURRENT, accepts

HOOKS = {name: hook for name, hook in vars(hookspecs).items() if hasattr(hook, f"{hookspecs.PROJECT}_spec")}
TABLE = Path(__file__).parents[2] / "docs" / "plugins" / "api-versions.md"
# What version 1 promises: whoever takes something of it away raises API_VERSION.
PROMISED = {
    "settings_class": [],
    "model_spec": ["settings"],
    "identify": ["head", "name"],
    "register_commands": ["app"],
    "load": ["spec", "device", "settings"],
    "unload": ["model"],
    **{
        f"on_{kind}": ["events", "model", "settings", "context"]
        for kind in ("image", "audio", "video", "document", "text", "data")
    },
    "on_finished": ["event", "results", "model", "settings", "context"],
    "embed_query": ["texts", "model", "settings"],
    "perform": ["task", "model", "settings", "context"],
    "performs": ["settings"],
    "register_kinds": [],
    "register_sources": ["settings"],
    "read_source": ["source", "settings", "context"],
    "known_models": ["settings"],
    "on_result": ["delivery", "model", "settings", "context"],
}


@pytest.mark.parametrize(
    ("wanted", "versions"),
    [
        (">=1,<2", {(1, 0), (1, 4)}),
        (">= 1.2 , < 2", {(1, 4)}),
        ("1", {(1, 0), (1, 4)}),
        (1, {(1, 0), (1, 4)}),
        ("==1.4", {(1, 4)}),
        (">1", {(2, 0)}),
        ("<=1", {(0, 9), (1, 0), (1, 4)}),
        ("!=1.4,<2", {(0, 9), (1, 0)}),
        (">=1.0.0,<1.4.1", {(1, 0), (1, 4)}),
    ],
)
def test_clauses_hold_for_these_versions(wanted, versions):
    assert {version for version in ((0, 9), (1, 0), (1, 4), (2, 0)) if accepts(wanted, version)} == versions


@pytest.mark.parametrize("wanted", ["", "one", ">=1;<2", "~=1", ">=", "1,", None, True, 1.0, ["1"], ">=1 <2", "٣"])
def test_what_says_no_versions_is_refused_with_an_example(wanted):
    with pytest.raises(InvalidPlugin, match=r'Write it as api = ">=1,<2"'):
        accepts(wanted, (1, 0))


def test_the_host_speaks_what_the_table_of_changes_ends_with():
    versions = re.findall(r"^\| (\d+)\.(\d+) \|", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(map(int, versions[-1])) == CURRENT


def test_no_hook_and_no_argument_of_this_version_is_taken_away():
    there = {name: list(inspect.signature(hook).parameters) for name, hook in HOOKS.items()}
    for name, arguments in PROMISED.items():
        assert set(arguments) <= set(there[name]), name


def newer(name: str):
    """The spec of a hook as it would be with one argument more, and at the front at that."""
    arguments = ", ".join(["novelty", *inspect.signature(HOOKS[name]).parameters])
    space: dict = {}
    exec(f"def {name}({arguments}): ...", space)
    options = getattr(HOOKS[name], f"{hookspecs.PROJECT}_spec")
    return pluggy.HookspecMarker(hookspecs.PROJECT)(**{key: value for key, value in options.items() if value})(
        space[name]
    )


@pytest.mark.parametrize("name", PROMISED)
def test_a_hook_that_gets_one_more_argument_calls_old_plugins_as_before(name):
    arguments = PROMISED[name]
    space: dict = {"hookimpl": hookimpl}
    exec(f"@hookimpl\ndef {name}({', '.join(arguments)}): return [{', '.join(arguments)}]", space)
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(type("Newer", (), {name: staticmethod(newer(name))}))
    manager.register(type("Old", (), {name: staticmethod(space[name])}))
    manager.check_pending()
    answer = getattr(manager.hook, name)(novelty="new", **{one: one.upper() for one in arguments})
    assert answer in ([one.upper() for one in arguments], [[one.upper() for one in arguments]])


def test_an_implementation_may_take_no_argument_at_all():
    for name in HOOKS:
        space: dict = {"hookimpl": hookimpl}
        exec(f"@hookimpl\ndef {name}(): return 'called'", space)
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        manager.register(type("Terse", (), {name: staticmethod(space[name])}))
        arguments = dict.fromkeys(inspect.signature(HOOKS[name]).parameters)
        assert getattr(manager.hook, name)(**arguments) in ("called", ["called"])
