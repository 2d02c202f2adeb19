"""The settings, their defaults and what each is for: the shape of config.toml.

Relative paths are taken from the folder given as `base` in the validation context, else from the current folder.
Keys of the file are the aliases where a field has one: `[[inbox]]` fills `inboxes`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo

from hooks.events import Kind


def _absolute(path: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base") or Path.cwd()
    if "\0" in str(path):
        raise ValueError("a path cannot contain a NUL character")
    try:
        return Path(os.path.abspath(base / path.expanduser()))
    except RuntimeError as error:  # ~name of somebody unknown
        raise ValueError(str(error)) from error


def _folder_name(path: Path) -> str:
    """A folder's name as text that a source may be called by, whatever bytes it has."""
    text = os.fsencode(path.name).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f]", "?", text)[:100] or "root"


Folder = Annotated[Path, AfterValidator(_absolute)]
Name = Annotated[str, Field(pattern=r"^[^/\x00-\x1f\x7f]+$", max_length=100)]
Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Period = Annotated[float, Field(ge=0.1, allow_inf_nan=False)]

# Defaults that must go through validation stand as the file would state them: only then are they taken from its folder.
DATA: Any = "data"
OUTBOX: Any = "outbox"
INBOXES: Any = ({"path": "inbox"},)
PATHS: Any = {}


class Section(BaseModel):
    """Base of the sections: what nobody knows is refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, validate_by_alias=True, validate_by_name=True
    )


class Paths(Section):
    """Where things lie."""

    data: Folder = Field(default=DATA, description="The host's own folder: journal, library, index, log.")
    outbox: Folder = Field(default=OUTBOX, description="Where the sidecar files with the results go.")
    failed: Folder = Field(
        default_factory=lambda data: data["outbox"] / "failed",
        validate_default=False,
        description="Where the reports of failed jobs go; `failed` in the outbox when it is not set.",
    )


class Inbox(Section):
    """A folder whose files are taken in."""

    path: Folder = Field(description="The folder; made when it is missing at the first start.")
    name: Name = Field(
        default_factory=lambda data: _folder_name(data["path"]),
        description="What it is called in answers and routes; the folder's own name when it is not set.",
    )
    mode: Literal["watch", "poll"] = Field(
        default="watch", description='"watch" is told of changes by the system; "poll" looks, for network mounts.'
    )
    after: Literal["remove", "done", "keep"] = Field(
        default="remove",
        description='What becomes of a file when its content is safe in the library: "remove" it, move it to '
        '"done", or "keep" it where it is.',
    )
    done: Folder | None = Field(
        default_factory=lambda data: data["path"] / "done" if data["after"] == "done" else None,
        validate_default=False,
        description='Where files go with after = "done"; `done` in the inbox when it is not set.',
    )
    recursive: bool = Field(default=True, description="Whether folders in it are watched as well.")
    ignore: tuple[str, ...] = Field(
        default=(), description="Patterns of names that are left alone, beside hidden, partial and junk files."
    )
    tags: tuple[str, ...] = Field(default=(), description="Tags for everything that arrives here.")
    tags_from_folders: bool = Field(default=False, description="Whether the names of folders in it become tags.")
    quiet: Seconds = Field(default=1.0, description="Seconds for which a file must not change before it is taken.")
    scan_every: Period = Field(default=300.0, description="Seconds between full scans when the system reports nothing.")
    poll_every: Period = Field(default=5.0, description='Seconds between two looks with mode = "poll".')
    max_size_mb: Count = Field(default=4096, description="Larger files are refused.")
    marker: str = Field(
        default="",
        pattern=r"^[^/\x00]*$",
        description='When set, as ".done": NAME is taken only once NAME.done is there too.',
    )


class Host(Section):
    """The host itself."""

    profile: Literal["tiny"] = Field(
        default="tiny", description='The choice of models for a size of machine; "tiny" is bundled and works offline.'
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="How much is logged, on the terminal and in logs/host.log of the data folder."
    )


class Devices(Section):
    """What models may compute on."""

    use_gpu: bool = Field(default=True, description="Whether GPUs are used where there are any.")
    gpu_reserve_mb: int = Field(default=500, ge=0, description="Memory of each GPU that is left to other programs.")
    cpu_memory_mb: Count | None = Field(
        default=None, description="Memory for models on the CPU; a share of what is free when it is not set."
    )
    threads: Count | None = Field(
        default=None, description="Threads of a model on the CPU; as many as there are cores when it is not set."
    )


class Jobs(Section):
    """How often failed work is tried."""

    attempts: Count = Field(default=3, le=100, description="How often a job is tried before it is set aside.")
    backoff: tuple[Seconds, ...] = Field(
        default=(1.0, 5.0, 25.0),
        min_length=1,
        description="Seconds before each further attempt; the last one counts for all that follow.",
    )


class Route(Section):
    """Narrows which events a plugin gets; what is empty matches everything."""

    plugin: str = Field(default="*", description='Name of a plugin, or "*" for all.')
    sources: tuple[str, ...] = Field(default=(), description="Names of inboxes and other sources.")
    folders: tuple[str, ...] = Field(default=(), description="Patterns of folders inside the inbox, or of whole paths.")
    media_types: tuple[str, ...] = Field(default=(), description='Patterns of media types, as "image/*".')
    kinds: tuple[Kind, ...] = Field(default=(), description="Kinds of events.")
    enabled: bool = Field(default=True, description="false: what matches does not go to the plugin.")


class Config(Section):
    """A whole configuration, complete and checked; made by `load_config`."""

    _path: Path | None = PrivateAttr(default=None)

    host: Host = Host()
    paths: Paths = Field(default=PATHS)
    inboxes: tuple[Inbox, ...] = Field(default=INBOXES, min_length=1, alias="inbox")
    devices: Devices = Devices()
    jobs: Jobs = Jobs()
    routes: tuple[Route, ...] = Field(default=(), alias="route")
    plugins: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Settings for each plugin, checked by its own class; `enabled` is the host's."
    )

    @property
    def path(self) -> Path | None:
        """The file that it was read from."""
        return self._path

    def plugin_enabled(self, name: str) -> bool:
        """Whether a plugin is to be used; it is unless `enabled = false` stands in its table."""
        return self.plugins.get(name, {}).get("enabled", True) is True

    def plugin_settings(self, name: str) -> dict[str, Any]:
        """The plugin's own keys, as they stand in the file."""
        return {key: value for key, value in self.plugins.get(name, {}).items() if key != "enabled"}
