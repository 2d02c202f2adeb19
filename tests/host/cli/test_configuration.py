"""`sensorium config`."""

import json
import re
import tomllib
from pathlib import Path

from host.config import load_config


def test_check_says_what_is_valid(cli, here):
    assert cli("config", "check").out == "No configuration file; the defaults: valid, 1 inbox, 1 route.\n"
    (here / "config.toml").write_text('[[inbox]]\npath = "a"\n[[inbox]]\npath = "b"\n[[route]]\n')
    assert cli("config", "check").out == f"{here}/config.toml: valid, 2 inboxes, 1 route.\n"


def test_check_shows_every_mistake_with_its_line(cli, here):
    (here / "c.toml").write_text("[jobs]\natempts = 3\n[devices]\nuse_gpu = 1\n")
    ended = cli("config", "check", "--config", "c.toml")
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.splitlines() == [
        "Error: c.toml, line 2: `atempts` is not a setting of [jobs]; did you mean `attempts`?",
        "c.toml, line 4: `devices.use_gpu` should be true or false, not 1.",
    ]


def test_check_finds_mistakes_in_the_settings_of_plugins(cli, here):
    (here / "config.toml").write_text('[plugins.clip]\nmodle = "tiny"\n[plugins.metdata]\n')
    ended = cli("config", "check", "--json")
    assert ended.code == 3
    found = json.loads(ended.out)
    assert found["valid"] is False
    assert [problem["line"] for problem in found["problems"]] == [1 + 1, 3]
    assert "`modle` is not a setting of [plugins.clip]; did you mean `model`?" in found["problems"][0]["message"]
    assert "no plugin is called `metdata`; did you mean `metadata`?" in found["problems"][1]["message"]


def test_check_as_json_says_when_all_is_well(cli):
    assert json.loads(cli("config", "check", "--json").out) == {"path": None, "valid": True, "problems": []}


def test_check_names_a_file_that_is_not_there(cli):
    ended = cli("config", "check", "--config", "nowhere.toml")
    assert ended.code == 3
    assert ended.err.startswith("Error: The configuration nowhere.toml cannot be read: No such file or directory.\n")


def test_what_show_prints_is_a_configuration_that_says_the_same(cli, here, tmp_path):
    text = """
[[inbox]]
path = "in \\u00e9 \\"quoted\\""
after = "done"
tags = ["a", "b"]
[[route]]
plugin = "clip"
kinds = ["image"]
[plugins.clip]
model = "tiny"
[plugins."odd name".inner]
list = [1, 2.5, true, { a = "b" }]
"""
    (here / "config.toml").write_text(text)
    shown = cli("config", "show").out
    copy = Path(here, "copy.toml")
    copy.write_text(shown)
    assert load_config(copy).model_dump() == load_config(Path("config.toml")).model_dump()
    assert tomllib.loads(shown)["jobs"]["attempts"] == 3


def test_show_as_json_uses_the_names_of_the_file(cli, here):
    shown = json.loads(cli("config", "show", "--json", "--data", "d").out)
    assert shown["paths"]["data"] == str(here / "d")
    assert shown["inbox"][0]["name"] == "inbox"


def test_the_schema_for_editors_knows_every_key_of_the_file_and_of_the_plugins(cli, plugin_path):
    schema = json.loads(cli("config", "schema").out)
    default = tomllib.loads((Path(__file__).parents[3] / "config.toml").read_text())
    assert default.keys() <= schema["properties"].keys()
    tables = schema["properties"]["plugins"]["properties"]
    for name, table in default["plugins"].items():
        assert table.keys() <= tables[name]["properties"].keys(), name
    refs = set(re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(schema)))
    assert refs - schema["$defs"].keys() == set()
    for section in ("jobs", "devices"):
        definition = schema["$defs"][schema["properties"][section]["$ref"].rpartition("/")[2]]
        assert default[section].keys() <= definition["properties"].keys()
        assert definition["additionalProperties"] is False
