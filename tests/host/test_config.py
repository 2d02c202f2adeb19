"""config.toml: what it may say, what it means, and how mistakes in it are shown."""

import os
import re
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from host.config import Config, InvalidConfig, Overrides, check_plugin_names, check_plugin_settings, load_config
from host.config.lines import Place, key_lines
from host.config.models import PluginUse
from host.errors import ConfigError
from host.plugin_manager import find_plugins

ROOT = Path(__file__).parents[2]
SETTING = re.compile(r"#(\[|[\w.-]+\s*=)")


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def problems(write):
    def problems(text: str) -> list[str]:
        with pytest.raises(InvalidConfig) as caught:
            load_config(write(text))
        return [str(problem) for problem in caught.value.problems]

    return problems


class ClipSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    model: str = "tiny"
    top: int = 5


# --- what holds ---


def test_without_a_file_everything_lies_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = load_config()
    assert config.path is None
    assert [inbox.path for inbox in config.inboxes] == [tmp_path / "inbox"]
    assert config.paths.model_dump() == {
        "data": tmp_path / "data",
        "outbox": tmp_path / "outbox",
        "failed": tmp_path / "outbox" / "failed",
    }


def test_config_toml_of_the_current_folder_is_found(tmp_path, monkeypatch, write):
    path = write("[jobs]\nattempts = 7\n")
    monkeypatch.chdir(tmp_path)
    config = load_config()
    assert (config.path, config.jobs.attempts) == (path, 7)


def test_relative_paths_are_taken_from_the_folder_of_the_file(tmp_path, monkeypatch, write):
    path = write('[paths]\ndata = "d"\n[[inbox]]\npath = "in/../photos"\nafter = "done"\n')
    monkeypatch.chdir("/")
    config = load_config(path)
    assert config.paths.data == tmp_path / "d"
    assert config.inboxes[0].path == tmp_path / "photos"
    assert config.inboxes[0].done == tmp_path / "photos" / "done"
    assert config.inboxes[0].name == "photos"


def test_a_path_may_begin_with_the_home_folder(write, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    assert load_config(write('[paths]\noutbox = "~/results"\n')).paths.outbox == Path("/home/somebody/results")


def test_done_is_only_filled_in_where_it_is_used(write):
    assert load_config(write('[[inbox]]\npath = "a"\nafter = "keep"\n')).inboxes[0].done is None


def test_whole_numbers_are_taken_where_seconds_are_asked_for(write):
    assert load_config(write("[jobs]\nbackoff = [2]\n")).jobs.backoff == (2.0,)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"\xef\xbb\xbf[jobs]\r\nattempts = 4\r\n")
    assert load_config(path).jobs.attempts == 4


def test_a_configuration_cannot_be_changed(write):
    config = load_config(write(""))
    with pytest.raises(ValueError, match="frozen"):
        config.jobs.attempts = 4


# --- the command line's say ---


def test_an_inbox_of_the_command_line_replaces_the_configured_ones(tmp_path, write):
    path = write('[[inbox]]\npath = "a"\n[[inbox]]\npath = "b"\n')
    config = load_config(path, Overrides(inboxes=(tmp_path / "c",)))
    assert [inbox.path for inbox in config.inboxes] == [tmp_path / "c"]


def test_an_inbox_of_the_command_line_keeps_the_settings_that_the_file_has_for_it(tmp_path, write):
    path = write('[[inbox]]\npath = "a"\nafter = "keep"\n')
    assert load_config(path, Overrides(inboxes=(tmp_path / "a",))).inboxes[0].after == "keep"


def test_paths_of_the_command_line_are_taken_from_the_current_folder(tmp_path, monkeypatch, write):
    path, here = write(""), tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    config = load_config(path, Overrides(inboxes=(Path("in"),), outbox=Path("out"), data=Path("d")))
    assert config.inboxes[0].path == here / "in"
    assert (config.paths.outbox, config.paths.failed, config.paths.data) == (
        here / "out",
        here / "out" / "failed",
        here / "d",
    )


def test_the_folder_of_failures_stays_where_the_file_says(tmp_path, write):
    path = write('[paths]\nfailed = "broken"\n')
    assert load_config(path, Overrides(outbox=tmp_path / "out")).paths.failed == tmp_path / "broken"


def test_inboxes_of_the_command_line_with_one_name_are_told_apart(tmp_path, write):
    config = load_config(write(""), Overrides(inboxes=tuple(tmp_path / part / "in" for part in "abc")))
    assert [inbox.name for inbox in config.inboxes] == ["in", "in-2", "in-3"]


@pytest.mark.parametrize(("name", "called"), [(b"odd-\xff", r"odd-\xff"), (b"two\nlines", "two?lines")])
def test_a_folder_may_have_any_name(tmp_path, write, name, called):
    folder = tmp_path / os.fsdecode(name)
    inbox = load_config(write(""), Overrides(inboxes=(folder,))).inboxes[0]
    assert (inbox.path, inbox.name) == (folder, called)


def test_a_path_of_the_command_line_that_means_nothing_is_refused(write):
    with pytest.raises(InvalidConfig, match="determine home directory"):
        load_config(write(""), Overrides(data=Path("~nobody-of-that-name/data")))


# --- what is refused, and how ---


def test_an_unknown_key_is_named_with_its_line_and_the_nearest_valid_name(problems):
    assert problems('[[inbox]]\npath = "a"\nquite = 3\n') == [
        "line 3: `quite` is not a setting of [inbox]; did you mean `quiet`?"
    ]


def test_an_unknown_section_is_named_with_its_line_and_the_nearest_valid_name(problems):
    assert problems("\n[job]\nattempts = 3\n") == [
        "line 2: `job` is not a setting of the top level; did you mean `jobs`?"
    ]


def test_a_key_in_the_wrong_section_is_sent_to_the_right_one(problems):
    assert problems('outbox = "x"\n') == [
        "line 1: `outbox` is not a setting of the top level, it belongs under [paths]."
    ]
    assert problems('outbxo = "x"\n') == [
        "line 1: `outbxo` is not a setting of the top level; did you mean `outbox` under [paths]?"
    ]


def test_a_key_like_no_other_lists_what_is_known(problems):
    assert problems("[jobs]\nzzz = 1\n") == [
        "line 2: `zzz` is not a setting of [jobs]; known are `attempts`, `backoff`, `suspend_after`."
    ]


def test_names_of_the_code_are_not_names_of_the_file(problems):
    assert problems("inboxes = []\n") == ["line 1: `inboxes` is not a setting of the top level; did you mean `inbox`?"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[jobs]\nattempts = "3"\n', "line 2: `jobs.attempts` should be a whole number, not '3'."),
        ("[jobs]\nattempts = true\n", "line 2: `jobs.attempts` should be a whole number, not True."),
        ("[jobs]\nattempts = 0\n", "line 2: `jobs.attempts` should be greater than or equal to 1, not 0."),
        ('[jobs]\nbackoff = [\n  1,\n  "x",\n]\n', "line 4: `jobs.backoff` should be a number, not 'x'."),
        ("[jobs]\nbackoff = []\n", "line 2: `jobs.backoff` should not be empty."),
        ("[jobs]\nbackoff = [inf]\n", "line 2: `jobs.backoff` should be a finite number, not inf."),
        ("[paths]\ndata = 4\n", "line 2: `paths.data` should be a text in quotes, not 4."),
        ('[devices]\nuse_gpu = "no"\n', "line 2: `devices.use_gpu` should be true or false, not 'no'."),
        ('[[inbox]]\npath = "a"\nmode = "look"\n', "line 3: `inbox.mode` should be 'watch' or 'poll', not 'look'."),
        ('[[inbox]]\nname = "a"\n', "line 1: `inbox.path` is missing."),
        ("inbox = []\n", "line 1: `inbox` should not be empty."),
        ('[inbox]\npath = "a"\n', "line 1: `inbox` can be there more than once: write [[inbox]] with two brackets."),
        ("[[jobs]]\n", "line 1: `jobs` can be there only once: write [jobs] with one bracket."),
        ("[plugins.clip]\nenabled = 3\n", "line 2: `plugins.clip.enabled` should be true or false, not 3."),
        ("[plugins]\nclip = 3\n", "line 2: `plugins.clip` should be an object, not 3."),
        (
            '[[inbox]]\npath = "a"\nmode = "listen"\n',
            "line 3: `inbox.mode` should be 'watch' or 'poll', not 'listen'.",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_line(problems, text, expected):
    assert problems(text) == [expected]


def test_every_problem_is_reported_in_the_order_of_lines(problems):
    text = '[jobs]\nattempts = 0\nnope = 1\n[[inbox]]\nmode = "look"\n[devices]\nthreads = "two"\n'
    assert [problem.split(":")[0] for problem in problems(text)] == ["line 2", "line 3", "line 4", "line 5", "line 7"]


def test_a_mistake_in_toml_itself_is_shown_with_its_line(problems):
    assert problems("[jobs]\nattempts = \n") == ["line 2: this is not TOML: invalid value."]
    assert problems("[jobs]\nattempts = 1\nattempts = 2\n") == ["line 3: this is not TOML: cannot overwrite a value."]
    assert problems("[jobs]\n\nbackoff = [1,\n") == ["line 4: this is not TOML: invalid value."]


def test_a_file_that_is_not_utf8_is_refused_with_the_line(tmp_path):
    path = tmp_path / "config.toml"
    path.write_bytes(b"[jobs]\n# caf\xe9\n")
    with pytest.raises(InvalidConfig, match="line 2: this is not UTF-8"):
        load_config(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml cannot be read: No such file"):
        load_config(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[[inbox]]\npath = "a"\n[[inbox]]\npath = "a/b"\n', "line 4: the inbox {}/a/b lies in another inbox, {}/a"),
        ('[[inbox]]\npath = "a/b"\n[[inbox]]\npath = "a"\n', "line 4: the inbox {}/a contains another inbox, {}/a/b"),
        ('[[inbox]]\npath = "outbox"\n', "line 2: the inbox {}/outbox is the same folder as the outbox, {}/outbox"),
        ('[[inbox]]\npath = "outbox/in"\n', "line 2: the inbox {}/outbox/in lies in the outbox, {}/outbox"),
        ('[paths]\ndata = "inbox/d"\n', "the inbox {}/inbox contains the host's data, {}/inbox/d"),
        ('[paths]\nfailed = "inbox/f"\n', "the inbox {}/inbox contains the folder of failures, {}/inbox/f"),
        (
            '[[inbox]]\npath = "a"\n[[inbox]]\npath = "b"\nafter = "done"\ndone = "a/old"\n',
            "line 2: the inbox {}/a contains another inbox's done folder, {}/a/old",
        ),
    ],
)
def test_folders_that_would_feed_each_other_are_refused(problems, tmp_path, text, expected):
    assert problems(text) == [expected.format(tmp_path, tmp_path) + "; keep them apart."]


def test_a_symbolic_link_does_not_hide_an_overlap(problems, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "in").symlink_to("out")
    assert len(problems('[paths]\noutbox = "out"\n[[inbox]]\npath = "in"\n')) == 1


def test_two_inboxes_of_one_name_are_refused(problems):
    assert problems('[[inbox]]\npath = "a/in"\n[[inbox]]\npath = "b/in"\n') == [
        "line 4: a second inbox is called `in`; give it another `name`."
    ]


def test_neighbours_with_names_that_begin_alike_do_not_overlap(write):
    assert len(load_config(write('[[inbox]]\npath = "in"\n[[inbox]]\npath = "inner"\n')).inboxes) == 2


# --- plugins ---


def test_the_settings_of_a_plugin_become_its_own_class(write):
    config = load_config(write('[plugins.clip]\nenabled = true\nmodel = "ViT-B-32"\n'))
    assert check_plugin_settings(config, "clip", ClipSettings) == ClipSettings(model="ViT-B-32")
    assert check_plugin_settings(config, "other", ClipSettings) == ClipSettings()


def test_a_mistake_in_the_settings_of_a_plugin_is_shown_with_its_line(write):
    config = load_config(write('[plugins.clip]\nmodle = "tiny"\ntop = "x"\n'))
    with pytest.raises(InvalidConfig) as caught:
        check_plugin_settings(config, "clip", ClipSettings)
    assert [str(problem) for problem in caught.value.problems] == [
        "line 2: `modle` is not a setting of [plugins.clip]; did you mean `model`?",
        "line 3: `plugins.clip.top` should be a whole number, not 'x'.",
    ]


def test_a_plugin_is_used_unless_its_table_says_no(write):
    config = load_config(write("[plugins.clip]\nenabled = false\n"))
    assert not config.plugin_enabled("clip")
    assert config.plugin_enabled("metadata")


def test_what_the_host_does_with_a_plugin_stands_beside_the_plugin_s_own_keys(write):
    config = load_config(write('[plugins.clip]\nmodel = "tiny"\npriority = "background"\npin = true\nweight = 3\n'))
    assert config.plugin_settings("clip") == {"model": "tiny"}
    assert config.plugin_use("clip").priority == "background"
    assert config.plugin_use("clip").spec_changes() == {"pin": True, "weight": 3.0}
    assert config.plugin_use("metadata").spec_changes() == {}


def test_a_mistake_in_what_the_host_is_to_do_with_a_plugin_is_shown_with_its_line(problems):
    assert problems('[plugins.clip]\npriority = "low"\nweight = -1\npin = "yes"\n') == [
        "line 2: `plugins.clip.priority` should be 'normal' or 'background', not 'low'.",
        "line 3: `plugins.clip.weight` should be greater than 0, not -1.",
        "line 4: `plugins.clip.pin` should be true or false, not 'yes'.",
    ]


def test_the_commented_configuration_mentions_every_key_of_the_host_in_a_plugin_s_table():
    everything = tomllib.loads(_with_commented_settings((ROOT / "config.toml").read_text()))
    assert set(PluginUse.model_fields) <= set(everything["plugins"]["clip"])


def test_a_table_or_route_for_a_plugin_that_is_not_there_is_refused(write):
    config = load_config(write('[plugins.clpi]\n[[route]]\n[[route]]\nplugin = "metdata"\n'))
    with pytest.raises(InvalidConfig) as caught:
        check_plugin_names(config, ["clip", "metadata"])
    assert [str(problem) for problem in caught.value.problems] == [
        "line 1: no plugin is called `clpi`; did you mean `clip`?",
        "line 4: no plugin is called `metdata`; did you mean `metadata`?",
    ]
    check_plugin_names(load_config(write('[plugins.clip]\n[[route]]\nplugin = "*"\n')), ["clip"])


def test_a_misspelt_kind_in_a_route_is_shown_and_that_of_an_absent_plugin_is_not(write):
    config = load_config(write('[[route]]\nkinds = ["imgae"]\n\n[[route]]\nkinds = ["track"]\n'))
    with pytest.raises(InvalidConfig) as caught:
        check_plugin_names(config, [])
    (problem,) = caught.value.problems
    assert (problem.line, problem.message) == (2, "no kind is called `imgae`; did you mean `image`?")
    with pytest.raises(InvalidConfig, match="did you mean `track`"):
        check_plugin_names(load_config(write('[[route]]\nkinds = ["trakc"]\n')), [], ["image", "track"])


def test_quiet_hours_that_cannot_be_are_refused_with_their_lines(write):
    text = '[[quiet_hours]]\nfrom = "25:00"\nto = "07:00Z"\ndays = ["monday"]\n[[quiet_hours]]\nfrom = 22\n'
    with pytest.raises(InvalidConfig) as caught:
        load_config(write(text))
    assert [str(problem) for problem in caught.value.problems] == [
        "line 2: `quiet_hours.from` should be a time in quotes, as \"22:00\", not '25:00'.",
        "line 3: `quiet_hours.to` is local time: leave the zone out, as in \"22:00\", not '07:00Z'.",
        "line 4: `quiet_hours.days` should be 'mon', 'tue', 'wed', 'thu', 'fri', 'sat' or 'sun', not 'monday'.",
        "line 5: `quiet_hours.to` is missing.",
        'line 6: `quiet_hours.from` should be a time in quotes, as "22:00", not 22.',
    ]


# --- the root config.toml ---


def test_the_commented_configuration_says_what_the_defaults_are(tmp_path, monkeypatch):
    path = tmp_path / "config.toml"
    path.write_bytes((ROOT / "config.toml").read_bytes())
    monkeypatch.chdir(tmp_path)
    stated, default = load_config(path).model_dump(), Config().model_dump()
    # The one difference: a host that nobody has configured opens no port.
    assert (stated["mqtt"].pop("broker"), default["mqtt"].pop("broker")) == ("embedded", None)
    del stated["plugins"], default["plugins"]
    assert stated == default


def test_the_commented_configuration_mentions_every_setting():
    mentioned = _with_commented_settings((ROOT / "config.toml").read_text())
    tables = tomllib.loads(mentioned)
    for name, field in Config.model_fields.items():
        key = field.alias or name
        if key == "plugins":
            continue
        table = tables[key][0] if field.alias else tables[key]
        section = get_args(field.annotation)[0] if field.alias else field.annotation
        assert sorted(table) == sorted(one.alias or own for own, one in section.model_fields.items()), key


def test_the_commented_configuration_holds_with_every_comment_removed(write):
    config = load_config(write(_with_commented_settings((ROOT / "config.toml").read_text())))
    assert config.plugins["clip"]["model"] == "ViT-B-32"
    assert config.inboxes[0].done is not None
    _settings_of_plugins(config)


def test_the_commented_configuration_mentions_every_setting_of_our_plugins_with_its_default(write):
    text = (ROOT / "config.toml").read_text()
    stated, everything = load_config(write(text)), load_config(write(_with_commented_settings(text)))
    defaults, every = _settings_of_plugins(Config()), _settings_of_plugins(everything)
    assert set(everything.plugins) == set(every)
    assert _settings_of_plugins(stated) == defaults
    for name, settings in every.items():
        assert set(everything.plugin_settings(name)) == set(type(settings).model_fields), name


def _settings_of_plugins(config: Config) -> dict[str, BaseModel]:
    """The checked settings of the plugins that come with this project."""
    checked: dict[str, BaseModel] = {}

    def check(name: str, settings_class: type[BaseModel]) -> BaseModel:
        checked[name] = check_plugin_settings(config, name, settings_class)
        return checked[name]

    registry = find_plugins(config.plugins, check)
    return {name: checked[name] for name, plugin in registry.usable.items() if plugin.distribution == "sensorium"}


def test_every_setting_is_described():
    for name, field in Config.model_fields.items():
        section = get_args(field.annotation)[0] if field.alias else field.annotation
        for key, setting in getattr(section, "model_fields", {}).items():
            assert setting.description, f"{name}.{key}"


def _with_commented_settings(text: str) -> str:
    """The text with `#key = value` made real; it replaces the same key of its table when that was set above."""
    lines: list[str] = []
    start = 0
    for line in text.splitlines():
        real = line[1:] if SETTING.match(line) else line
        if real.startswith("["):
            start = len(lines)
        elif real != line:
            key = real.split("=")[0].strip()
            lines[start:] = [old for old in lines[start:] if old.split("=")[0].strip() != key]
        lines.append(real)
    return "\n".join(lines) + "\n"


# --- where keys stand ---

EVERYTHING = r'''# a comment = "with" [brackets]
"quoted \" key" = 'literal # not a comment'
a.b.c = 1   # one
text = """
[not.a.table]
\""" still text """""
raw = \'\'\'
x = 1\'\'\'
list = [
  1, [2, 3], # a comment ]
  { inner = "}", deep.er = [4] },
]
[ table . "with dots" ]
x = 1979-05-27T07:32:00Z
[[item]]
name = "a"
[[item]]
name = "b"
[item.sub]
y = 1
[[item.more]]
z = 1
[[item.more]]
z = 2
'''.replace("\\'", "'")


def test_every_way_to_write_a_key_is_found_on_its_line():
    lines = key_lines(EVERYTHING)
    assert _places(tomllib.loads(EVERYTHING)) <= lines.keys()
    found = {place: lines[place] for place in lines}
    assert found[('quoted " key',)] == 2
    assert found[("a", "b", "c")] == 3
    assert found[("raw",)] == 7
    assert found[("list",)] == 9
    assert found[("list", 1, 1)] == 10
    assert found[("list", 2, "deep", "er", 0)] == 11
    assert found[("table", "with dots", "x")] == 14
    assert found[("item", 1, "name")] == 18
    assert found[("item", 1, "sub", "y")] == 20
    assert found[("item", 1, "more", 1, "z")] == 24


@pytest.mark.parametrize("name", ["config.toml", "pyproject.toml"])
def test_no_key_of_a_real_file_is_missed(name):
    text = (ROOT / name).read_text()
    assert _places(tomllib.loads(text)) <= key_lines(text).keys()


WORDS = st.text("abc-_1", min_size=1, max_size=4)
SCALARS = st.sampled_from(
    ["1", "-2.5", "true", '"x # [y]"', "'}'", '"""a\n"b" """', "'''\n[t]\n'''", "inf", "1979-05-27"]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: "[\n " + " , # c ]\n ".join(items) + "\n]")
        | st.dictionaries(WORDS, SCALARS.filter(lambda value: "\n" not in value), max_size=3).map(
            lambda items: "{ " + ", ".join(f"{key} = {value}" for key, value in items.items()) + " }"
        )
    ),
    max_leaves=6,
)
TABLES = st.lists(st.tuples(WORDS, st.dictionaries(WORDS, VALUES, max_size=4)), max_size=5)


@given(TABLES)
def test_each_key_of_any_file_is_found_on_the_line_where_it_was_written(tables):
    written: dict[Place, int] = {}
    text = ""
    for number, (name, pairs) in enumerate(tables):
        text += f"[[t]]\n# {name} = 1\n"
        for key, value in pairs.items():
            written["t", number, key] = text.count("\n") + 1
            text += f"{key} = {value} # trailing\n\n"
    tomllib.loads(text)
    lines = key_lines(text)
    assert {place: lines[place] for place in written} == written


def _places(value: Any, at: Place = ()) -> set[Place]:
    pairs: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    return {(*at, key) for key, _ in pairs}.union(*(_places(inner, (*at, key)) for key, inner in pairs))


@pytest.mark.parametrize("name", [".", "..", "failed", "submit", "mqtt"])
def test_an_inbox_cannot_take_a_name_that_would_mean_another_folder(problems, name):
    (problem,) = problems(f'[[inbox]]\npath = "a"\nname = "{name}"\n')
    assert problem.startswith("line 3: ")
