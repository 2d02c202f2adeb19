"""Folders of links for people who look through clusters with a file manager: `albums/<hierarchy>/<cluster>/…`.

`.sensorium.json` in the folder lists what was made here. Nothing else is ever removed, and nothing that is in the way
is replaced: what somebody put there stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hooks import Artifact, ClusterEnrichment, ClusterLabel, Task
from host.clustering import naming
from host.dispatcher import Dispatcher
from host.errors import WorkFailed
from host.handover import bring
from host.journal import Journal, Row
from host.library import Library
from host.plugin_manager import PluginRegistry
from host.views import ClusterRun

MADE = ".sensorium.json"
SHEET = "contact-sheet.jpg"
SHEET_PICTURES = 400


class Made(BaseModel):
    """What was made here: links with what they point to, and contact sheets with what they show, by their paths."""

    model_config = ConfigDict(extra="forbid")
    links: dict[str, str] = {}
    sheets: dict[str, str] = {}


@dataclass(slots=True)
class Album:
    """One cluster's folder: links by their names, and the pictures of its contact sheet."""

    title: str
    facts: str
    folder: PurePosixPath
    links: dict[str, str] = field(default_factory=dict)
    pictures: list[Path] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)

    @property
    def shows(self) -> str:
        """What its contact sheet is drawn from, in short."""
        said = [self.title, self.facts, *self.captions, *(str(path) for path in self.pictures)]
        return hashlib.sha256("\0".join(said).encode("utf-8", "backslashreplace")).hexdigest()


class Albums:
    """Keeps the folder as the journal says."""

    def __init__(
        self, root: Path, journal: Journal, library: Library, registry: PluginRegistry, dispatcher: Dispatcher
    ) -> None:
        self._root = root
        self._journal = journal
        self._library = library
        self._registry = registry
        self._dispatcher = dispatcher

    async def bring_up_to_date(self, report: ClusterRun) -> Path:
        """Make what is missing, remove what was made here and is true no more; the folder."""
        albums = [await self._album(row) for row in await self._journal.rows("clusters", space=None) if row["size"]]
        told = list(_told_apart(albums))
        made = await asyncio.to_thread(self._sync_links, told, report)
        for album in told:
            await self._sheet(album, made, report)
        await asyncio.to_thread(self._remember, made)
        return self._root

    async def _album(self, row: Row) -> Album:
        label = ClusterLabel.model_validate_json(row["label"]) if row["label"] else None
        enrichment = ClusterEnrichment.model_validate_json(row["enrichment"]) if row["enrichment"] else None
        album = Album(
            title=row["name"],
            facts=naming.clean(label.description) if label else "",
            folder=PurePosixPath(*naming.folders_of(row["name"], label, enrichment)),
        )
        members = await self._journal.rows("members", cluster=row["id"], limit=-1)
        await bring(members, self._journal, self._library)
        taken = {SHEET.casefold()}
        for member in members:
            path = self._library.resolve(member["location"])
            album.links[_free_name(member["name"], taken)] = str(path)
            if member["kind"] == "image" and len(album.pictures) < SHEET_PICTURES:
                album.pictures.append(path)
                album.captions.append(naming.clean(member["name"]))
        return album

    # -- the file system: in a thread --------------------------------------------------------------------------------

    def _sync_links(self, albums: Iterable[Album], report: ClusterRun) -> Made:
        before, now = self._read(), Made()
        wanted = {str(album.folder / name): path for album in albums for name, path in album.links.items()}
        sheets = {str(album.folder / SHEET): album.shows for album in albums if album.pictures}
        for relative in before.links.keys() - wanted.keys():
            self._remove(relative)
        for relative in before.sheets.keys() - sheets.keys():
            self._remove(relative)
        now.sheets = {path: shows for path, shows in before.sheets.items() if sheets.get(path) == shows}
        for relative, target in wanted.items():
            if self._link(relative, target, before):
                now.links[relative] = target
            else:
                report.problems.append(f"{self._root / relative} is in the way: it was not made here and stays.")
        self._remember(Made(links={**before.links, **now.links}, sheets={**before.sheets, **now.sheets}))
        return now

    def _link(self, relative: str, target: str, before: Made) -> bool:
        path = self._root / relative
        try:
            if os.readlink(path) == target:
                return True
            if relative not in before.links:
                return False
            path.unlink()
        except FileNotFoundError:
            pass
        except OSError:  # no link
            return False
        try:
            self._make_folders(path.parent)
            path.symlink_to(target)
        except OSError:
            return False
        return True

    def _make_folders(self, folder: Path) -> None:
        """Make a folder below the root; raises OSError when a link leads elsewhere on the way."""
        for part in (self._root, *(self._root / parent for parent in reversed(_parents(folder, self._root)))):
            if part.is_symlink():
                raise NotADirectoryError(str(part))
            part.mkdir(parents=True, exist_ok=True)

    def _remove(self, relative: str) -> None:
        path = self._root / relative
        if not _is_below(relative):
            return
        with contextlib.suppress(OSError):
            if path.is_symlink() or path.name == SHEET:
                path.unlink()
        for folder in _parents(path.parent, self._root):
            with contextlib.suppress(OSError):
                (self._root / folder).rmdir()  # only what is empty

    def _read(self) -> Made:
        try:
            return Made.model_validate_json((self._root / MADE).read_bytes())
        except (OSError, ValidationError):
            return Made()

    def _remember(self, made: Made) -> None:
        self._root.mkdir(parents=True, exist_ok=True)
        _replace(self._root / MADE, made.model_dump_json().encode())

    # -- contact sheets ----------------------------------------------------------------------------------------------

    async def _sheet(self, album: Album, made: Made, report: ClusterRun) -> None:
        performer = self._registry.performer("contact_sheet")
        path = self._root / album.folder / SHEET
        relative = str(album.folder / SHEET)
        if performer is None or not album.pictures or (relative in made.sheets and path.is_file()):
            return
        values: dict[str, Any] = {"title": album.title, "facts": album.facts, "captions": album.captions}
        task = Task(name="contact_sheet", values=values, files=tuple(album.pictures))
        try:
            findings = await self._dispatcher.perform(performer.name, task)
            content = next(one.blob for one in findings if one.type == Artifact.type and one.blob)
            self._make_folders(path.parent)
            await asyncio.to_thread(_replace, path, content)
        except (WorkFailed, StopIteration, OSError) as error:
            report.problems.append(f"{path} was not drawn: {error}")
            return
        made.sheets[relative] = album.shows


def _told_apart(albums: Iterable[Album]) -> Iterator[Album]:
    """Albums whose folders differ, whatever the case; a link never has the name of a folder beside it."""
    taken: set[str] = set()
    kept = []
    for album in albums:
        own = naming.unique(str(album.folder), taken)
        taken.add(own.casefold())
        album.folder = PurePosixPath(own)
        kept.append(album)
    folders = {str(part).casefold() for album in kept for part in (album.folder, *album.folder.parents)}
    for album in kept:
        taken = {name.casefold() for name in album.links}
        for name in [name for name in album.links if str(album.folder / name).casefold() in folders]:
            album.links[_free_name(name, taken)] = album.links.pop(name)
        yield album


def _free_name(name: str, taken: set[str]) -> str:
    """What a link to a file is called: as the file was, as far as that is safe, with a number where that is taken.

    The name is in `taken`, in small letters, from then on.
    """
    stem, suffix = os.path.splitext(naming.folder_name(name) or "file")
    number, found = 1, stem + suffix
    while found.casefold() in taken:
        number += 1
        found = f"{stem} {number}{suffix}"
    taken.add(found.casefold())
    return found


def _parents(folder: Path, root: Path) -> list[Path]:
    """A folder below the root and what lies between them, the deepest first, as paths below the root."""
    relative = folder.relative_to(root)
    return [relative, *relative.parents][:-1]


def _is_below(relative: str) -> bool:
    parts = PurePosixPath(relative).parts
    return bool(parts) and not relative.startswith("/") and ".." not in parts


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(content)
    os.replace(temporary, path)
