"""A model is chosen by content, wish and memory, by rules that say why; it fits by the leases' own policy."""

from __future__ import annotations

import json

import pytest

from hooks import Device, KnownModel, ModelSpec
from host.cli.plan import megabytes
from host.leasing.costs import Costs
from host.leasing.plan import forecast, planned_devices
from host.plugin_manager import find_plugins
from host.selection import WISHES, choose, contents, profile

RESERVE = 500


def known_models() -> dict[str, list[KnownModel]]:
    """What the plugins that come with the host know."""
    return find_plugins({"llm": {"enabled": True}}, lambda _name, found: found.model_construct()).known_models()


def model(name: str, memory_mb: int, mark: int, parameters: float, **more) -> KnownModel:
    return KnownModel(name=name, memory_mb=memory_mb, good_for={"code": mark}, parameters=parameters, **more)


SMALL, MIDDLE, LARGE = model("small", 2000, 30, 3), model("middle", 9000, 60, 14), model("large", 15000, 80, 30)
MIXTURE, SERVED = model("mixture", 14000, 70, 60, active=4), model("served", 0, 99, 600)
KNOWN = {"llm": [SMALL, MIDDLE, LARGE, MIXTURE, SERVED]}


@pytest.mark.parametrize(
    ("wish", "memory_mb", "name"),
    [
        ("quality", 16000, "large"),
        ("quality", 14500, "mixture"),
        ("speed", 16000, "mixture"),
        ("speed", 10000, "small"),
        ("balanced", 16000, "middle"),
        ("balanced", 10000, "small"),
        ("quality", 1000, None),
    ],
)
def test_the_wish_decides_which_of_those_that_fit(wish, memory_mb, name):
    choice = choose(KNOWN, "code", wish, memory_mb)
    assert (choice.model.name if choice.model else None) == name
    assert choice.reason


def test_of_one_model_quality_takes_the_larger_form_and_speed_the_smaller():
    known = {"llm": [model("a", 3000, 50, 3, quantization="q4"), model("a", 5000, 50, 3, quantization="q8")]}
    assert choose(known, "code", "quality", 6000).model.quantization == "q8"
    assert choose(known, "code", "speed", 6000).model.quantization == "q4"


def test_a_choice_says_why_it_is_not_a_better_one():
    choice = choose(KNOWN, "programming", "speed", 14500)
    assert choice.others[0] == "served (99) is for servers."
    assert "large (80) needs 15000 MB." in choice.others
    balanced = choose(KNOWN, "code", "balanced", 16000)
    assert "large (80) fits, but is not meant for balanced." in balanced.others


@pytest.mark.parametrize("size", ["6gb", "16gb", "32gb"])
def test_each_model_of_each_profile_fits_by_the_policy_of_the_leases(size):
    known = known_models()
    memory = megabytes(size)
    choices = profile(known, memory - RESERVE)
    assert len(choices) == 3 * len(WISHES)
    specs = {
        f"{one.content} {one.wish}": ModelSpec(name=one.model.name, memory_mb=one.model.memory_mb, device="gpu")
        for one in choices
        if one.model is not None
    }
    assert len(specs) == len(choices)
    cpu = Device(name="cpu", kind="cpu", memory_mb=8000, threads=2)
    found = forecast(specs, planned_devices([cpu], [memory], None, RESERVE), Costs())
    assert {name: fate.refused for name, fate in found.fates.items() if fate.refused} == {}
    assert all(fate.devices == ["gpu0"] for fate in found.fates.values())


def test_a_larger_machine_never_gets_a_lesser_model():
    known = known_models()
    for content in contents(known):
        sizes = [megabytes(size) for size in ("6gb", "16gb", "32gb")]
        marks = [choose(known, content, "quality", size).model.good_for[content] for size in sizes]
        assert marks == sorted(set(marks))


def test_the_command_explains_its_choice_and_says_what_to_write(cli):
    chosen = ("models", "--for", "code", "--wish", "quality", "--fit", "16gb")
    told = cli(*chosen)
    assert told.code == 0, told.err
    for part in ("qwen2-5-coder-14b", "best mark for code (79)", "of 15884 MB", "[plugins.llm]"):
        assert part in told.flat
    (found,) = json.loads(cli(*chosen, "--json").out)
    assert found["model"]["settings"] == {"model": "qwen2-5-coder-14b"}
    assert "none fits" in cli("models", "--fit", "600mb").flat


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--for", "code"), "--fit 16gb"),
        (("--for", "cooking", "--fit", "6gb"), "There are marks for: code, general, maths"),
        (("--for", "code", "--wish", "luck", "--fit", "6gb"), "speed, balanced, quality"),
        (("--fit", "some"), "no size of memory"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(cli, arguments, said):
    told = cli("models", *arguments)
    assert told.code == 2
    assert said in told.flat_err
