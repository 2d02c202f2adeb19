"""Plugins are found by their entry point; one that cannot be used is listed with its reason, and the host runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from host.config import Config, check_plugin_settings
from host.errors import ConfigError
from host.plugin_manager import LIGHT, PluginRegistry, Unusable, find_plugins, settings_sha256
from tests.plugin_kit import BUILT_IN_OFF, MEASURE, install_plugin

HEAD = "from hooks import *\nfrom pydantic import BaseModel\n"


@pytest.fixture
def found(plugin_path: Path):
    """Install plugins from source and find what there is."""

    def find(settings: dict[str, dict[str, Any]] | None = None, **sources: str) -> PluginRegistry:
        for name, source in sources.items():
            install_plugin(plugin_path, name, HEAD + source)
        config = Config.model_validate({"plugins": {**BUILT_IN_OFF, **(settings or {})}})
        return find_plugins(config.plugins, lambda name, cls: check_plugin_settings(config, name, cls))

    return find


def problem(registry: PluginRegistry, name: str) -> str:
    assert name not in registry.usable
    (one,) = [one for one in registry.unusable if one.name == name]
    return one.problem


def test_a_plugin_is_known_by_its_hooks_version_and_distribution(found):
    plugin = found(measure=MEASURE).usable["measure"]
    assert (plugin.version, plugin.distribution) == ("1.0", "test-plugin-measure")
    assert plugin.event_hooks == {"on_image", "on_text", "on_data"}


def test_a_plugin_without_a_model_is_light(found):
    plugin = found(measure=MEASURE).usable["measure"]
    assert not plugin.has_model
    assert plugin.spec == LIGHT.model_copy(update={"name": "measure"})


def test_an_optional_plugin_is_off_until_it_is_configured(found):
    source = """
optional = True
class Settings(BaseModel):
    model: str
@hookimpl
def settings_class(): return Settings
"""
    registry = found(extra=source)
    assert problem(registry, "extra") == "off as long as there is no [plugins.extra]"
    assert all(one.disabled for one in registry.unusable)
    assert found({"extra": {"model": "a"}}).usable["extra"].settings == {"model": "a"}
    with pytest.raises(ConfigError, match="model"):
        found({"extra": {"enabled": True}})


def test_a_plugin_states_its_model_with_its_settings(found):
    source = """
class Settings(BaseModel):
    size: int = 100
@hookimpl
def settings_class(): return Settings
@hookimpl
def model_spec(settings): return ModelSpec(name="m", memory_mb=settings.size, device="cpu")
"""
    plugin = found({"sized": {"size": 700}}, sized=source).usable["sized"]
    assert (plugin.spec.memory_mb, plugin.has_model, plugin.settings) == (700, True, {"size": 700})


def test_other_settings_are_another_provenance(found):
    source = "class S(BaseModel):\n    size: int = 1\n@hookimpl\ndef settings_class(): return S\n"
    one = settings_sha256(found(sized=source).usable["sized"].settings)
    assert settings_sha256(found({"sized": {"size": 1}}, sized=source).usable["sized"].settings) == one
    assert settings_sha256(found({"sized": {"size": 2}}, sized=source).usable["sized"].settings) != one


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nobody_has_this", "it cannot be imported: No module named 'nobody_has_this'. Install what it needs."),
        ("1 / 0", "it failed to start: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "it failed to start: SystemExit: 3"),
        ("def (", "it failed to start: SyntaxError: "),
        ("api = 2", "it is made for hook API 2; this host speaks 1.0. Install a version that fits."),
        ("api = '>=2,<3'", "it is made for hook API >=2,<3; this host speaks 1.0. Install a version that fits."),
        ("api = 'the best'", "its api is 'the best', which says no versions. Write it as api = \">=1,<2\"."),
        ("@hookimpl\ndef on_smell(events): pass", "it implements on_smell, which hook API 1.0 does not have."),
        ("@hookimpl\ndef on_image(events, mood): pass", "it failed to start: PluginValidationError: "),
        ("@hookimpl\ndef model_spec(): return 'small'", "model_spec returned str, not a ModelSpec."),
        ("@hookimpl\ndef model_spec(): raise ModelUnavailable('No weights.', 'Get them.')", "No weights. Get them."),
        ("@hookimpl\ndef model_spec(): return ModelSpec(name='m', batch=0)", "it failed to start: ValidationError: "),
        ("@hookimpl\ndef settings_class(): return dict", "settings_class of odd returned <class 'dict'>"),
        ("@hookimpl\ndef settings_class(): raise KeyError('a')", "it failed to start: KeyError: 'a'"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_listed_with_its_reason_beside_the_good_ones(found, source, reason):
    registry = found(odd=source, measure=MEASURE)
    assert problem(registry, "odd").startswith(reason)
    assert set(registry.usable) == {"measure"}


def test_the_api_that_a_plugin_was_made_for_is_listed(found):
    assert [one.api for one in found(odd="api = 2").unusable if one.name == "odd"] == ["2"]


def test_a_plugin_that_is_switched_off_is_not_even_imported(found):
    registry = found({"odd": {"enabled": False}}, odd="raise SystemExit")
    (one,) = [one for one in registry.unusable if one.name == "odd"]
    assert one == Unusable("odd", "1.0", "test-plugin-odd", "switched off in the configuration", disabled=True)


def test_settings_that_do_not_fit_are_the_user_s_mistake_and_are_named(found):
    source = "class S(BaseModel):\n    size: int = 1\n@hookimpl\ndef settings_class(): return S\n"
    with pytest.raises(ConfigError, match="size"):
        found({"sized": {"size": "large"}}, sized=source)


def test_of_two_plugins_with_one_name_one_is_used_and_the_other_is_listed(plugin_path, found, tmp_path, monkeypatch):
    other = tmp_path / "other"
    install_plugin(other, "measure", HEAD + MEASURE)
    info = (other / "test_plugin_measure-1.0.dist-info").rename(other / "another_package-2.0.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: another-package\nVersion: 2.0\n")
    monkeypatch.syspath_prepend(str(other))
    registry = found(measure=MEASURE)
    assert registry.usable["measure"].distribution == "another-package"
    (one,) = [one for one in registry.unusable if one.name == "measure"]
    assert one.distribution == "test-plugin-measure"
    assert "another-package has a plugin of that name" in one.problem


def test_what_a_plugin_prints_while_it_is_imported_breaks_no_output(found, capsys):
    found(loud="print('hello')")
    assert capsys.readouterr().out == ""


IDENTIFY = "@hookimpl\ndef identify(head, name): {}\n"


def test_a_plugin_may_tell_what_the_host_does_not_know(found):
    registry = found(smeller=IDENTIFY.format("return ('data', 'x/smell') if head == b'\\0smell' else None"))
    assert registry.identify(b"\0smell", "a.smell") == ("data", "x/smell")
    assert registry.identify(b"\0other", "a.other") is None


@pytest.mark.parametrize("body", ["raise ValueError('no')", "return 'image'", "return ('smell', 'x/y')", "return 5, 6"])
def test_a_plugin_that_fails_to_identify_is_passed_over(found, body):
    registry = found(a_broken=IDENTIFY.format(body), smeller=IDENTIFY.format("return ('data', 'x/smell')"))
    assert registry.identify(b"\0smell", "a.smell") == ("data", "x/smell")


TRACKS = """
from typing import Literal
from hooks import Event
class Track(Event):
    kind: Literal["track"] = "track"
@hookimpl
def register_kinds(): return [Track]
@hookimpl
def identify(head, name): return ("track", "application/gpx+xml") if b"<gpx" in head else None
@hookimpl
def on_track(events): return []
"""


def test_a_plugin_may_bring_a_kind_of_its_own_with_its_hook(found):
    registry = found(gpx=TRACKS, measure=MEASURE)
    assert registry.usable["gpx"].event_hooks == {"on_track"}
    assert registry.kinds[-1] == "track"
    assert registry.identify(b"<gpx>", "way.gpx") == ("track", "application/gpx+xml")


def test_a_kind_that_nobody_brings_has_no_hook(found):
    registry = found(stray="@hookimpl\ndef on_track(events): return []")
    assert problem(registry, "stray") == "it implements on_track, which hook API 1.0 does not have."
    assert registry.identify(b"<gpx>", "way.gpx") == ("text", "text/plain")


@pytest.mark.parametrize(
    ("classes", "why"),
    [
        ("[BaseModel]", "it is not a class of events"),
        ("[5]", "it is not a class of events"),
        ("[of('Image')]", "its kind should be a short word of small letters"),
        ("[of('image')]", "the kind image is taken"),
        ("[of('finished')]", "the kind finished is taken"),
        ("[of('track', length=(int, 0))]", "it has further fields (length)"),
    ],
)
def test_a_class_that_cannot_be_a_kind_makes_its_plugin_unusable_and_says_why(found, classes, why):
    registry = found(
        odd=f"""
from pydantic import create_model
from hooks import Event
def of(kind, **more): return create_model("Odd", __base__=Event, kind=(str, kind), **more)
@hookimpl
def register_kinds(): return {classes}
"""
    )
    assert problem(registry, "odd").endswith(f"{why}.")


@pytest.mark.parametrize(
    ("head", "name", "known"),
    [
        (b"{}", "a.json", ("data", "application/json")),
        (b"hello", "a", ("text", "text/plain")),
        (b"a,b\n1,2\n3,4\n5,6\n", "a.csv", ("data", "text/csv")),
    ],
)
def test_where_the_host_is_vague_a_plugin_may_know_better(found, head, name, known):
    assert found(silent=IDENTIFY.format("return None")).identify(head, name) == known
    assert found(smeller=IDENTIFY.format("return ('data', 'x/y')")).identify(head, name) == ("data", "x/y")


def test_what_the_host_knows_for_sure_no_plugin_is_asked(found):
    registry = found(smeller=IDENTIFY.format("return ('data', 'x/y')"))
    assert registry.identify(b"%PDF-1.7", "a.pdf") == ("document", "application/pdf")


def test_who_can_answer_a_search_is_known(found):
    registry = found(measure=MEASURE, embedder="@hookimpl\ndef embed_query(texts): return []")
    assert [plugin.name for plugin in registry.embedders()] == ["embedder"]
    assert registry.hooks_of_plugins() == {"measure": frozenset({"on_image", "on_text", "on_data"})}


def test_who_performs_a_task_is_known(found):
    registry = found(measure=MEASURE, labeller="@hookimpl\ndef performs(settings): return ['label_cluster']")
    assert (registry.performer("label_cluster") or registry.usable["measure"]).name == "labeller"
    assert registry.performer("enrich_cluster") is None
