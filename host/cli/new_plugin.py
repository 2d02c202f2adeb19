"""`sensorium new-plugin`: a package that works, to be changed into what its author wants."""

from __future__ import annotations

import re
import shutil
import tempfile
import tomllib
from enum import StrEnum
from importlib import metadata, resources
from pathlib import Path
from typing import Annotated, Any

import typer

from host.cli.output import near, show_json, show_whole, text
from host.errors import HostError, UsageError

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST = 40
PLACE = re.compile(r"@@(\w+)@@")
NOUNS = {"image": "picture", "audio": "recording", "video": "film", "document": "document", "text": "text",
         "data": "data file"}  # fmt: skip


class EventKind(StrEnum):
    """What the plugin works on."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    DOCUMENT = "document"
    TEXT = "text"
    DATA = "data"


def new_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and hyphens, as night-watch.")],
    kind: Annotated[EventKind, typer.Option("--kind", help="What it works on.")] = EventKind.IMAGE,
    model: Annotated[
        bool, typer.Option("--model/--no-model", help="Whether it has a model, which is loaded when there is work.")
    ] = False,
    into: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="Where its folder is made; the current one without it.")
    ] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Write a complete plugin package: code, test, settings, README, CI; its tests pass as they are."""
    check_name(name)
    folder = into / f"sensorium-{name}"
    files = package(name, kind.value, with_model=model)
    write(folder, files)
    if as_json:
        show_json({"folder": str(folder.absolute()), "files": sorted(files)})
        return
    show_whole(text(("Made ", "green"), near(str(folder.absolute())), f" with {len(files)} files. Now:"))
    for line in (
        f"  cd {near(str(folder.absolute()))}",
        "  pip install --editable '.[test]'",
        "  pytest",
        f"  sensorium plugin check {name}",
    ):
        show_whole(text(line))
    show_whole(text(f"The plugin is src/{module_of(name)}/__init__.py."))


def check_name(name: str) -> None:
    """Raises UsageError for a name that cannot be one, or that an installed plugin has."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        better = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-0123456789")[:LONGEST].strip("-")
        advice = f"Take {better}." if NAME.fullmatch(better) else "Take one as night-watch."
        raise UsageError(
            f"{name!r} is no name for a plugin: small letters, digits and single hyphens, a letter first, "
            f"{LONGEST} characters at most.",
            advice,
        )
    for point in metadata.entry_points(group="sensorium"):
        if point.name == name:
            owner = point.dist.name if point.dist else "another package"
            raise UsageError(f"A plugin called {name} is installed already, by {owner}.", "Take another name.")


def module_of(name: str) -> str:
    """The module of a plugin of this name."""
    return f"sensorium_{name.replace('-', '_')}"


def package(name: str, kind: str, *, with_model: bool) -> dict[str, str]:
    """The files of a plugin package: their contents by path."""
    words = _words(name, kind, with_model)
    module = words["module"]
    code, test = ("model.py", "test_model.py") if with_model else ("plain.py", "test_plain.py")
    chosen = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        ".gitignore": "gitignore",
        ".github/workflows/test.yml": "workflow.yml",
        f"src/{module}/__init__.py": code,
        f"tests/test_{name.replace('-', '_')}.py": test,
    }
    if with_model:
        chosen[f"src/{module}/weights.json"] = "weights.json"
    return {path: _filled(template, words) for path, template in chosen.items()}


def write(folder: Path, files: dict[str, str]) -> None:
    """Make the folder with all of the files, or nothing of it. Raises UsageError where there is something already."""
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} is there already.", "Remove it, or take another name or --into DIR.")
    if not folder.parent.is_dir():
        raise UsageError(f"There is no folder {folder.parent}.", "Make it first.")
    try:
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise HostError(f"Nothing can be written in {folder.parent.absolute()}: {error.strerror}.") from error
    try:
        for path, content in files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(content, encoding="utf-8")
        made.chmod(0o755)  # mkdtemp made it private
        made.rename(folder)
    except OSError as error:
        raise HostError(f"{folder} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _words(name: str, kind: str, with_model: bool) -> dict[str, str]:
    """What stands in the places of the templates."""
    about: dict[str, Any] = tomllib.loads(_template("kinds.toml"))[kind]
    wanted = [f"sensorium>={metadata.version('sensorium')}", *([] if with_model else about["dependencies"])]
    cls = name.title().replace("-", "")
    kind_class = kind.title()
    imported = ["Failure", kind_class, "Result"]
    imported += ["Device", "Label", "Labels", "ModelSpec", "ModelUnavailable"] if with_model else [
        "BadInput", "ResultData",
    ]  # fmt: skip
    noun = NOUNS[kind]
    more = "Its model is a stand-in: put yours into `load`." if with_model else "Change `look` into what you want."
    return {
        "name": name,
        "distribution": f"sensorium-{name}",
        "module": module_of(name),
        "kind": kind,
        "Kind": kind_class,
        "Class": cls,
        "type": name.replace("-", "_"),
        "noun": noun,
        "summary": f"Tells densely packed {noun}s from plain ones." if with_model else f"It {about['does']}.",
        "dependencies": ", ".join(f'"{one}"' for one in wanted),
        "imports": about["imports"].strip() + "\n" if about["imports"] else "",
        "hooks": f"{', '.join(sorted(imported))}, hookimpl",
        "fields": about["fields"].strip("\n"),
        "look": about["look"].strip("\n").replace("CLASS", cls),
        "tested": about["tested"],
        "sample": {"image": "a.png", "audio": "a.wav", "video": "a.avi", "document": "a.pdf", "text": "a.txt",
                   "data": "a.json"}[kind],
        "setting": "keep_alive = 30" if with_model else "max_mb = 50",
        "next": more,
    }  # fmt: skip


def _filled(template: str, words: dict[str, str]) -> str:
    return PLACE.sub(lambda place: words[place[1]], _template(f"plugin/{template}.tmpl"))


def _template(name: str) -> str:
    return resources.files("host.cli").joinpath("templates", name).read_text(encoding="utf-8")
