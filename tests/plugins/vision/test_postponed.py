"""A module that is postponed is not imported until it is needed, and is then the real one."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest

from plugins.vision.postponed import postponed


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with a module `slow_package.part`, not imported yet."""
    (tmp_path / "slow_package").mkdir()
    (tmp_path / "slow_package" / "__init__.py").write_text("")
    (tmp_path / "slow_package" / "part.py").write_text("def double(number, *, plus=0): return 2 * number + plus\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("slow_package", "slow_package.part"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "slow_package.part"


def imported() -> set[str]:
    return {"slow_package", "slow_package.part"} & set(sys.modules)


def test_a_postponed_module_is_imported_at_the_first_call(slow):
    with postponed(slow):
        from slow_package.part import double
    assert imported() == set()
    assert double(3, plus=1) == 7
    assert imported() == {"slow_package", "slow_package.part"}


def test_a_module_can_be_kept_as_a_whole(slow):
    with postponed("slow_package.part"):
        part = importlib.import_module(slow)
    assert part.double(4) == 8


def test_afterwards_the_real_module_is_imported(slow):
    with postponed(slow):
        importlib.import_module(slow)
    assert importlib.import_module(slow).__file__.endswith("part.py")


def test_what_is_imported_already_is_left_alone(slow):
    real = importlib.import_module(slow)
    with postponed(slow):
        assert importlib.import_module(slow) is real
    assert sys.modules[slow] is real


def test_an_error_on_the_way_leaves_no_stand_in(slow):
    with pytest.raises(ZeroDivisionError), postponed(slow):
        raise ZeroDivisionError
    assert slow not in sys.modules


def test_a_function_that_is_not_there_is_missed_at_its_call(slow):
    with postponed(slow):
        from slow_package.part import triple
    with pytest.raises(AttributeError, match="triple"):
        triple(3)


def test_who_asks_whether_a_postponed_module_is_there_is_told_so(slow):
    with postponed(slow):
        assert importlib.util.find_spec(slow) is not None
