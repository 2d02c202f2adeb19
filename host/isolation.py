"""Plugins with an environment of their own, for dependencies that clash with the host's or with another plugin's.

    data/plugins/NAME/venv       the environment that its workers run in, made by `sensorium plugin install --isolated`
    data/plugins/NAME/said.json  what the plugin said of itself, asked of a child process once for each settings
    data/plugins/contract/       links to the host's `hooks` and to what that needs; last on each environment's path

The host imports none of them: for it each is a stand-in with the same hooks, which says what the plugin said. The links
are made anew by each host, so that one that was upgraded speaks with its plugins as before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib import metadata, util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, TypeAdapter, create_model, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from hooks import Event, InvalidPlugin, ModelSpec, Source, hookimpl
from hooks.describe import GROUP
from host.log import get_logger

CONTRACT = ("hooks", "pluggy", "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection")
SELF = "sensorium"
DESCRIBE_SECONDS = 120.0
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

log = get_logger(__name__)
Said = dict[str, Any]


class Isolated:
    """The environments under one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def homes(self) -> list[Home]:
        """The environments that are there."""
        with contextlib.suppress(OSError):
            found = sorted(path for path in self.folder.iterdir() if (path / "venv" / "pyvenv.cfg").is_file())
            return [Home(path) for path in found if not path.name.startswith(".")]
        return []

    def home_of(self, point: metadata.EntryPoint) -> Home | None:
        """The environment that an entry point is of; None for one of the host's own."""
        for home in self.homes():
            if point.dist is not None and Path(str(point.dist.locate_file(""))) == home.site:
                return home
        return None

    def entry_points(self) -> Iterator[metadata.EntryPoint]:
        """The plugins in these environments; nothing is imported for that."""
        for home in self.homes():
            for distribution in metadata.distributions(path=[str(home.site)]):
                yield from distribution.entry_points.select(group=GROUP)

    def link_contract(self) -> None:
        """Have the links show to this host's packages. Raises OSError."""
        wanted = {place.name: place for name in CONTRACT for place in _places(name)}
        folder = self.folder / "contract"
        folder.mkdir(parents=True, exist_ok=True)
        for there in folder.iterdir():
            if there.is_symlink() and (there.name not in wanted or os.readlink(there) != str(wanted[there.name])):
                there.unlink()
        for name, place in wanted.items():
            if not (folder / name).is_symlink():
                (folder / name).symlink_to(place)
        self._name_self(folder)

    def _name_self(self, folder: Path) -> None:
        """A plugin says that it needs this package: there it is, with no needs of its own, as its plugins see of it."""
        info = folder / f"{SELF}-{metadata.version(SELF)}.dist-info"
        for other in folder.glob(f"{SELF}-*.dist-info"):
            if other != info:
                shutil.rmtree(other)
        if not (info / "METADATA").exists():
            info.mkdir(exist_ok=True)
            text = f"Metadata-Version: 2.1\nName: {SELF}\nVersion: {metadata.version(SELF)}\n"
            (info / "METADATA").write_text(text, encoding="utf-8")


class Home:
    """One environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"

    @property
    def site(self) -> Path:
        """Where its packages are."""
        return next(iter(sorted((self.folder / "venv" / "lib").glob("python*/site-packages"))), self.folder)

    @property
    def problem(self) -> str:
        """Why it cannot be used; empty when it can."""
        again = "Install the plugin again with `sensorium plugin install --isolated`."
        if self.site.parent.name != f"python{VERSION}":
            return f"its environment is made for {self.site.parent.name}, the host runs on Python {VERSION}. {again}"
        if not self.python.exists():
            return f"the Python of its environment, {os.path.realpath(self.python)}, is gone. {again}"
        return ""

    def describe(self, name: str, table: Mapping[str, Any]) -> Said:
        """What a plugin says of itself with these settings, asked where nobody has yet. Raises InvalidPlugin."""
        if self.problem:
            raise InvalidPlugin(self.problem)
        key, kept = self._key(name, table), self.folder / "said.json"
        answers: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            answers = json.loads(kept.read_text(encoding="utf-8"))
        if answers.get(name, {}).get("key") == key:
            known: Said = answers[name]["said"]
            return known
        said = next((one for one in self.ask({name: dict(table)}) if one["name"] == name), {})
        if not said or "error" in said:
            raise InvalidPlugin(said.get("error", "its environment does not know it any more."))
        with contextlib.suppress(OSError):
            partial = kept.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps({**answers, name: {"key": key, "said": said}}), encoding="utf-8")
            partial.replace(kept)
        return said

    def ask(self, tables: Mapping[str, Any]) -> list[Said]:
        """What all its plugins say of themselves. Raises InvalidPlugin."""
        command = [str(self.python), "-I", "-m", "hooks.describe"]
        try:
            done = subprocess.run(
                command, input=json.dumps(tables, default=str), capture_output=True, text=True, timeout=DESCRIBE_SECONDS
            )
            found: list[Said] = json.loads(done.stdout)
        except subprocess.TimeoutExpired as error:
            raise InvalidPlugin(f"it did not start within {DESCRIBE_SECONDS:g} s in its environment.") from error
        except (OSError, ValueError) as error:
            last = (done.stderr.strip().splitlines() or [str(error)])[-1] if isinstance(error, ValueError) else error
            raise InvalidPlugin(f"it did not start in its environment: {last}") from error
        return found

    def _key(self, name: str, table: Mapping[str, Any]) -> str:
        """Changes with all that the answer depends on: the settings, what is installed, the contract."""
        there = sorted((path.name, path.stat().st_mtime_ns) for path in self.site.glob("*.dist-info"))
        parts = (name, dict(table), there, metadata.version(SELF), VERSION)
        return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _places(package: str) -> Iterator[Path]:
    """Where a package of the host lies, and what names its version."""
    spec = util.find_spec(package)
    if spec is None or spec.origin is None:
        raise InvalidPlugin(f"The host's own {package} is not found.")
    origin = Path(spec.origin)
    yield origin.parent if spec.submodule_search_locations else origin
    with contextlib.suppress(metadata.PackageNotFoundError):
        found = [file for file in metadata.distribution(package).files or () if file.name == "METADATA"]
        yield from (Path(str(file.locate())).parent for file in found)


def stand_in(said: Said) -> Any:
    """What the host takes for the plugin: the same hooks and attributes, and the answers that it gave."""
    plugin = SimpleNamespace(**said["attributes"])
    answers: dict[str, Any] = {
        "settings_class": _settings_class(said),
        "register_kinds": [create_model(kind.title(), __base__=Event, kind=(str, kind)) for kind in said["kinds"]],
        "performs": said.get("tasks", []),
    }
    for name in said["hooks"]:
        setattr(plugin, name, hookimpl(_answering(answers.get(name))))
    if "register_sources" in said["hooks"]:
        plugin.register_sources = hookimpl(lambda: TypeAdapter(list[Source]).validate_python(said["sources"]))
    if "model_spec" in said["hooks"]:
        plugin.model_spec = hookimpl(lambda: ModelSpec.model_validate(said["spec"], strict=False))
    plugin.settings_class = hookimpl(_answering(answers["settings_class"]))
    return plugin


def _answering(value: Any) -> Any:
    return lambda: value


def _settings_class(said: Said) -> type[BaseModel]:
    """A class that finds in its input what the plugin's own class has found there."""
    problems = [
        InitErrorDetails(
            type=PydanticCustomError(one["type"], "{words}", {"words": one["msg"]}),
            loc=tuple(one["loc"]),
            input=one["input"],
        )
        for one in said.get("problems", ())
    ]

    class StandIn(BaseModel):
        model_config = ConfigDict(extra="allow", json_schema_extra=lambda schema: schema.update(said["schema"]))

        @model_validator(mode="wrap")
        @classmethod
        def _as_it_said(cls, values: Any, handler: ModelWrapValidatorHandler[Any]) -> Any:
            if problems:
                raise ValidationError.from_exception_data("Settings", problems)
            return handler({**said.get("settings", {}), **values})

    properties = said["schema"].get("properties", {})
    fields: dict[str, Any] = {key: (Any, _field(shape, key in _required(said))) for key, shape in properties.items()}
    made = create_model(said["schema"].get("title", "Settings"), __base__=StandIn, **fields)
    made.__doc__ = said["schema"].get("description")
    return made


def _required(said: Said) -> list[str]:
    found: list[str] = said["schema"].get("required", [])
    return found


def _field(shape: Mapping[str, Any], required: bool) -> Any:
    default = ... if required else shape.get("default")
    return Field(default=default, description=shape.get("description"))
