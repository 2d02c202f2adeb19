"""`sensorium plugin show`: what a plugin is and what may be set, for people, programs and editors."""

from __future__ import annotations

import json

import pytest

from host.cli.schema import settings_of_class
from tests.plugin_kit import install_plugin

WATCHER = '''
"""Watches for cats. More is said here."""
from typing import Literal
from pydantic import BaseModel, ConfigDict, Field
from hooks import *

api = ">=1,<2"

class Box(BaseModel):
    """A part of a picture."""
    side: int = Field(3, ge=1, le=9, description="How long it is.")

class Settings(BaseModel):
    """How it watches."""
    model_config = ConfigDict(extra="forbid")
    model: str = Field(description="Which cats.")
    colors: Literal["all", "grey"] = Field("all", description="What it sees.")
    names: tuple[str, ...] | None = Field(None, description="What they are called.")
    box: Box = Field(default_factory=Box, description="Where.")
    slow: bool = False

@hookimpl
def settings_class(): return Settings
@hookimpl
def model_spec(settings): return ModelSpec(name="cats/" + settings.model, memory_mb=700, batch=4, device="cpu")
@hookimpl
def on_image(events): return ()
'''


@pytest.fixture
def watcher(plugin_path, here):
    install_plugin(plugin_path, "cat-watcher", WATCHER)
    return here / "config.toml"


def test_a_plugin_is_shown_with_its_settings_their_types_defaults_and_what_they_are_for(cli, watcher):
    watcher.write_text('[plugins.cat-watcher]\nmodel = "big"\nslow = false\n')
    ended = cli("plugin", "show", "cat-watcher")
    assert ended.code == 0, ended.err
    for said in (
        "cat-watcher 1.0, from test-plugin-cat-watcher",
        "Watches for cats. More is said here.",
        "Hook API >=1,<2; this host speaks 1.0",
        "cats/big: ~700 MB on the CPU; 4 events a batch; leaves after 300 s without work",
        "[plugins.cat-watcher] How it watches.",
        'model text required "big" Which cats.',
        'colors "all" or "grey" "all" What it sees.',
        "names list of text not set What they are called.",
        "box table not set Where.",
        "box.side whole number from 1 to 9 3 How long it is.",
        "slow true or false false",
        "priority, pin, preload",
    ):
        assert said in ended.flat


def test_the_schema_for_editors_has_the_plugin_s_keys_and_the_host_s(cli, watcher):
    schema = json.loads(cli("plugin", "show", "cat-watcher", "--schema").out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"model", "colors", "box", "enabled", "priority"} <= set(schema["properties"])
    assert schema["required"] == ["model"]
    assert schema["additionalProperties"] is False
    assert schema["$defs"]["Box"]["properties"]["side"]["maximum"] == 9


def test_what_is_shown_to_machines_says_the_same(cli, watcher):
    watcher.write_text('[plugins.cat-watcher]\nmodel = "big"\n')
    shown = json.loads(cli("plugin", "show", "cat-watcher", "--json").out)
    assert shown["model"]["memory_mb"] == 700
    assert shown["stated"] == {"model": '"big"'}
    rows = {row["key"]: row for row in shown["settings"]}
    assert rows["model"] == {
        "key": "model", "type": "text", "default": None, "required": True, "description": "Which cats.",
    }  # fmt: skip
    assert rows["box.side"]["default"] == "3"


def test_settings_that_do_not_fit_are_named_with_line_and_nearest_name_after_what_may_be_set(cli, watcher):
    watcher.write_text('[plugins.cat-watcher]\nmodel = "big"\ncolours = "all"\n[plugins.cat-watcher.box]\nside = 12\n')
    ended = cli("plugin", "show", "cat-watcher")
    assert ended.code == 3
    assert "colors" in ended.out
    assert ended.err.splitlines() == [
        f"Error: {watcher}, line 3: `colours` is not a setting of [plugins.cat-watcher]; did you mean `colors`?",
        f"{watcher}, line 5: `plugins.cat-watcher.box.side` should be less than or equal to 9, not 12.",
    ]


def test_a_plugin_that_is_off_is_shown_with_the_reason(cli, watcher):
    watcher.write_text("[plugins.cat-watcher]\nenabled = false\n")
    ended = cli("plugin", "show", "cat-watcher")
    assert ended.code == 0, ended.err
    assert "State switched off in the configuration" in ended.flat
    assert "Which cats." in ended.flat


def test_a_plugin_that_nobody_has_is_answered_with_the_nearest_name(cli, watcher):
    ended = cli("plugin", "show", "cat-wacher")
    assert (ended.code, ended.out) == (5, "")
    assert "No plugin is called cat-wacher.\nDid you mean `cat-watcher`?" in ended.err


def test_a_plugin_that_cannot_be_imported_is_an_error_with_words(cli, here, plugin_path):
    install_plugin(plugin_path, "torn", "import nobody_has_this")
    ended = cli("plugin", "show", "torn")
    assert ended.code == 1
    assert "The plugin torn cannot be opened: ModuleNotFoundError: No module named 'nobody_has_this'" in ended.err


def test_every_setting_of_the_plugins_that_come_with_the_host_is_described():
    from importlib.metadata import distribution

    from hooks.worker import plugin_manager, resolve
    from host.plugin_manager import settings_class_of

    for point in distribution("sensorium").entry_points.select(group="sensorium"):
        manager = plugin_manager()
        manager.register(resolve(point.value))
        rows = list(settings_of_class(settings_class_of(manager, point.name)))
        assert [row.key for row in rows if not row.description] == [], point.name
        assert [row.key for row in rows if "anything" in row.type] == [], point.name
