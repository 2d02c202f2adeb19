"""Reads config.toml, applies what the command line says, and refuses what cannot work."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hooks.events import KINDS
from host.config.lines import Place, key_lines
from host.config.models import Config, Inbox, Paths, PluginUse
from host.config.problems import InvalidConfig, Problem, is_like, line_of, nearest, problems_of
from host.errors import ConfigError

DEFAULT_FILE = Path("config.toml")
Settings = TypeVar("Settings", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line says instead of the file; relative paths are taken from the current folder."""

    inboxes: tuple[Path, ...] = ()
    outbox: Path | None = None
    data: Path | None = None


def load_config(path: Path | None = None, overrides: Overrides | None = None) -> Config:
    """The configuration of `path`, else of ./config.toml when it is there, else the defaults.

    Raises ConfigError with every problem that one reading can show, each with its line.
    """
    path = path or (DEFAULT_FILE if DEFAULT_FILE.is_file() else None)
    text = _read(path) if path else ""
    overrides = overrides or Overrides()
    config = _validated(_parsed(text, path), text, path)
    try:
        config = _overridden(config, overrides)
    except ValidationError as error:
        raise InvalidConfig(None, problems_of(error, Config, {})) from error
    problems = list(_conflicts(config, {} if overrides.inboxes else key_lines(text)))
    if problems:
        raise InvalidConfig(path, problems)
    config._path = Path(path).absolute() if path else None
    return config


def check_plugin_settings(config: Config, name: str, settings_class: type[Settings]) -> Settings:
    """The plugin's table as its own class; raises ConfigError with the lines as for the host's keys."""
    try:
        return settings_class.model_validate_json(_json(config.plugin_settings(name)), strict=True)
    except ValidationError as error:
        lines = key_lines(_read(config.path)) if config.path else {}
        raise InvalidConfig(config.path, problems_of(error, settings_class, lines, ("plugins", name))) from error


def check_plugin_names(config: Config, known: Iterable[str], kinds: Sequence[str] = KINDS) -> None:
    """Raises ConfigError when a table or a route names a plugin that is not installed, or misspells a kind.

    A kind that is like no other may be that of a plugin which is switched off, or cannot be imported just now.
    """
    names = sorted(known)
    lines = key_lines(_read(config.path)) if config.path else {}
    tables: list[tuple[Place, str]] = [(("plugins", name), name) for name in config.plugins]
    routes: list[tuple[Place, str]] = [
        (("route", number, "plugin"), route.plugin) for number, route in enumerate(config.routes)
    ]
    problems = [
        Problem(line_of(place, lines), name, f"no plugin is called `{name}`; {nearest(name, names)}")
        for place, name in tables + routes
        if name not in (*names, "*")
    ]
    problems += [
        Problem(line_of(("route", number, "kinds"), lines), kind, f"no kind is called `{kind}`; {nearest(kind, kinds)}")
        for number, route in enumerate(config.routes)
        for kind in route.kinds
        if kind not in kinds and is_like(kind, kinds)
    ]
    if problems:
        raise InvalidConfig(config.path, problems)


def _read(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"The configuration {path} cannot be read: {error.strerror}.", "Name another one with --config."
        ) from error
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InvalidConfig(path, [Problem(line, "", "this is not UTF-8; save the file as UTF-8.")]) from error


def _parsed(text: str, path: Path | None) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).rpartition(" (at ")
        found = re.search(r"line (\d+)", where)
        line = int(found[1]) if found else text.count("\n") + 1
        raise InvalidConfig(path, [Problem(line, "", f"this is not TOML: {what[:1].lower()}{what[1:]}.")]) from error


def _json(table: dict[str, Any]) -> str:
    """TOML's values as JSON: pydantic's strict JSON mode takes lists as tuples and texts as paths, and nothing else."""
    return json.dumps(table, default=str)


def _validated(table: dict[str, Any], text: str, path: Path | None) -> Config:
    base = path.absolute().parent if path else Path.cwd()
    try:
        return Config.model_validate_json(_json(table), strict=True, by_name=False, context={"base": base})
    except ValidationError as error:
        raise InvalidConfig(path, problems_of(error, Config, key_lines(text))) from error


def _overridden(config: Config, overrides: Overrides) -> Config:
    changes: dict[str, Any] = {}
    if overrides.inboxes:
        changes["inboxes"] = _inboxes(overrides.inboxes, config.inboxes)
    if overrides.outbox or overrides.data:
        given = {"outbox": overrides.outbox, "data": overrides.data}
        stated = config.paths.model_dump(include=config.paths.model_fields_set)
        changes["paths"] = Paths(**{**stated, **{key: path for key, path in given.items() if path}})
    return config.model_copy(update=changes)


def _inboxes(folders: Iterable[Path], configured: tuple[Inbox, ...]) -> tuple[Inbox, ...]:
    """An inbox for each folder, with the settings that the file has for that folder; equal names get a number."""
    known = {inbox.path: inbox for inbox in configured}
    chosen: dict[str, Inbox] = {}
    for folder in folders:
        inbox = Inbox(path=folder)
        inbox = known.get(inbox.path, inbox)
        name, number = inbox.name, 2
        while name in chosen:
            name, number = f"{inbox.name}-{number}", number + 1
        chosen[name] = inbox.model_copy(update={"name": name})
    return tuple(chosen.values())


def _conflicts(config: Config, lines: dict[Place, int]) -> Iterator[Problem]:
    """What each section allows and the whole cannot: two inboxes of one name, folders that would feed themselves."""
    names: set[str] = set()
    for number, inbox in enumerate(config.inboxes):
        line = line_of(("inbox", number, "path"), lines)
        if inbox.name in names:
            yield Problem(line, "inbox.name", f"a second inbox is called `{inbox.name}`; give it another `name`.")
        names.add(inbox.name)
        for what, folder in _others(config, number):
            if overlap := _overlap(inbox.path, folder):
                message = f"the inbox {inbox.path} {overlap} {what}, {folder}; keep them apart."
                yield Problem(line, "inbox.path", message)
    for name, table in config.plugins.items():
        stated = {key: value for key, value in table.items() if key in PluginUse.model_fields}
        try:
            PluginUse.model_validate_json(_json(stated), strict=True)
        except ValidationError as error:
            yield from problems_of(error, PluginUse, lines, ("plugins", name))


def _others(config: Config, number: int) -> Iterator[tuple[str, Path]]:
    yield from (("another inbox", other.path) for other in config.inboxes[:number])
    done = (other.done for other in config.inboxes if other is not config.inboxes[number])
    yield from (("another inbox's done folder", folder) for folder in done if folder)
    yield "the outbox", config.paths.outbox
    if not config.paths.failed.is_relative_to(config.paths.outbox):
        yield "the folder of failures", config.paths.failed
    yield "the host's data", config.paths.data


def _overlap(inbox: Path, other: Path) -> str:
    inside, outside = inbox.resolve(), other.resolve()
    if inside == outside:
        return "is the same folder as"
    if outside.is_relative_to(inside):
        return "contains"
    return "lies in" if inside.is_relative_to(outside) else ""
