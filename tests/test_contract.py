"""What people rely on is documented: a hook, setting, command, error or code without its words fails here.

The pages of commands, of settings and of the contract are generated from the code; then its docstrings, helps and
descriptions are the words. The model is datasette's `test_docs.py`.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

import hooks
from hooks import ResultData, errors, hookspecs, testing
from host.config.models import PluginUse
from host.errors import FailureCode, HostError, RequestCode
from host.mqtt.messages import REFUSED, UNPUBLISHABLE
from host.plugin_manager import PluginRegistry, find_plugins
from tools.reference import commands, settings

ROOT = Path(__file__).parents[1]
DOCS = {path.relative_to(ROOT / "docs").as_posix(): path.read_text() for path in (ROOT / "docs").rglob("*.md")}
WRITTEN = "\n".join([*DOCS.values(), (ROOT / "README.md").read_text()])
HOOKS = {name: value for name, value in vars(hookspecs).items() if hasattr(value, "sensorium_spec")}
OWN_TABLES = [*settings.tables(), ("[plugins.NAME]", PluginUse)]
TABLES = [*OWN_TABLES, *((f"[plugins.{name}]", found) for name, found in settings.plugins().items())]
COMMANDS = dict(commands.commands())


def table_rows(page: str) -> set[str]:
    """The first cells of a page's tables, without their quotes."""
    return {cell.strip("` ") for cell in re.findall(r"^\| ([^|]*)\|", DOCS[page], flags=re.MULTILINE)}


# --- hooks ---


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_says_where_it_runs_and_what_it_is_for(name):
    assert re.match(r"(Host|Worker|Host and worker): \w.*[.]", inspect.getdoc(HOOKS[name]) or "", flags=re.DOTALL)


def test_the_page_of_hooks_shows_every_hook_and_no_other():
    shown = re.findall(r"^::: hooks\.hookspecs\.(\w+)$", DOCS["plugins/hooks.md"], flags=re.MULTILINE)
    assert sorted(shown) == sorted(HOOKS)


def test_the_page_of_hooks_explains_every_argument():
    explained = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*?\|", DOCS["plugins/hooks.md"], re.MULTILINE))))
    arguments = {name for hook in HOOKS.values() for name in inspect.signature(hook).parameters}
    assert arguments - explained == set()


def test_every_name_that_plugins_import_is_described_on_a_page_that_is_built():
    modules = set(re.findall(r"^::: (hooks\.[a-z_.]+[a-z_])", DOCS["reference/contract.md"], re.MULTILINE))
    modules |= {"hooks.hookspecs", "hooks.errors"}
    public = {name: getattr(module, name) for module in (hooks, testing) for name in module.__all__}
    for name, value in public.items():
        if getattr(value, "__module__", "").startswith("hooks.") and callable(value):
            assert value.__doc__, name
            assert value.__module__ in modules, f"{name}: add ::: {value.__module__} to docs/reference/contract.md"


def test_every_type_of_result_of_the_contract_is_described():
    for kind in ResultData.__subclasses__():
        if kind.__module__.startswith("hooks."):
            assert kind.__doc__, kind
            assert kind.__name__ in hooks.__all__, kind


def test_every_field_of_a_model_s_spec_is_explained_to_authors():
    page = DOCS["plugins/leases.md"] + (hooks.ModelSpec.__doc__ or "")
    assert [name for name in hooks.ModelSpec.model_fields if f"`{name}`" not in page and name != "name"] == []


# --- settings ---


@pytest.mark.parametrize(("heading", "table"), TABLES, ids=[heading for heading, _ in TABLES])
def test_every_setting_says_what_it_is_for(heading, table):
    assert table.__doc__, heading
    undescribed = [name for name, field in table.model_fields.items() if not field.description and not is_table(field)]
    assert undescribed == []


def is_table(field: Any) -> bool:
    parts = (field.annotation, *get_args(field.annotation))
    return any(isinstance(part, type) and issubclass(part, BaseModel) for part in parts)


def test_the_page_of_settings_has_every_key_of_every_table():
    page = settings.page()
    for heading, table in TABLES:
        part = page.partition("Tables of plugins" if table is PluginUse else f"{heading}\n")[2].partition("\n#")[0]
        keys = [field.alias or name for name, field in table.model_fields.items() if not is_table(field)]
        assert [key for key in keys if f"| `{key}` |" not in part] == [], heading


def test_the_page_of_settings_has_every_plugin_that_comes_with_the_host():
    registry: PluginRegistry = find_plugins({}, lambda _name, found: found.model_construct())
    ours = {one.name for one in (*registry.usable.values(), *registry.unusable) if one.distribution == "sensorium"}
    assert set(settings.plugins()) == ours


# --- commands ---


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_and_option_says_what_it_does(path):
    command = COMMANDS[path]
    assert command.help
    assert [one.name for one in command.params if not one.help] == []


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_is_shown_at_work_on_a_page_that_somebody_wrote(path):
    assert re.search(rf"(`|sensorium |`, `){path}\b", WRITTEN), f"docs/ or README.md should show: sensorium {path}"


def test_the_page_of_commands_has_every_command_and_its_options():
    page = commands.page()
    for path, command in COMMANDS.items():
        part = page.partition(f"## sensorium {path}\n")[2].partition("\n## ")[0]
        assert [one.opts[0] for one in command.params if one.opts[0].startswith("--") and one.opts[0] not in part] == []


# --- errors ---


def test_every_code_of_a_failure_says_what_to_do():
    codes = {*get_args(FailureCode), *get_args(RequestCode), REFUSED, UNPUBLISHABLE}
    assert codes - table_rows("troubleshooting.md") == set()


def test_every_exit_code_says_what_to_do():
    kinds = [HostError, *HostError.__subclasses__()]
    codes = {str(kind.exit_code) for kind in kinds} | {"0", "130"}
    assert codes - table_rows("troubleshooting.md") == set()


def test_every_error_of_the_contract_is_explained_to_authors():
    kinds = {name for name, kind in vars(errors).items() if inspect.isclass(kind) and kind.__module__ == "hooks.errors"}
    assert kinds - {"SensoriumError"} - table_rows("plugins/troubleshooting.md") == set()
