"""A content that somebody waits for: one plugin works on it ahead of every job, and nothing of it is kept."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hooks import Speech
from hooks.events import FINISH, hook_of
from host.dispatcher import Dispatcher
from host.errors import NotFound, UsageError, WorkFailed
from host.findings import Finding, remove_made
from host.handover import event_payload
from host.identify import HEAD
from host.intake import event_id_of
from host.library import Library
from host.plugin_manager import PluginRegistry

REQUEST = "request"
SMALL = 256 * 1024
LARGEST = 32 * 1024 * 1024  # bytes of a file that goes into an answer


class Requests:
    """Puts contents to plugins; `folder` holds them while they are worked on."""

    def __init__(self, registry: PluginRegistry, dispatcher: Dispatcher, library: Library, folder: Path) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._library = library
        self._folder = folder
        self._numbers = itertools.count()

    async def answer(self, plugin: str, content: bytes, meta: Mapping[str, Any] | None = None) -> Sequence[Finding]:
        """What a plugin finds in a content, at its next batch boundary; `meta` is what the event says beside it.

        Raises NotFound for an unknown plugin, UsageError for a content that it does not take, WorkFailed when the work
        fails. Cancelled, the work is not begun, or its outcome is dropped. A file comes as a blob.
        """
        found = await self.findings(plugin, content, self._identify(plugin, content), meta or {})
        try:
            for finding in found:
                if finding.file is not None:
                    finding.blob = await asyncio.to_thread(_read, finding.file)
        finally:
            remove_made(finding.file for finding in found if finding.file)
        return found

    async def spoken(self, plugin: str, text: str, meta: Mapping[str, Any]) -> Finding:
        """A text as speech; the file is the caller's, to be moved or removed. Raises as `answer`."""
        for finding in await self.findings(plugin, text.encode(), ("text", "text/plain"), meta):
            if finding.type == Speech.type and finding.file is not None:
                return finding
        raise WorkFailed(f"{plugin} said nothing.", "`sensorium plugins` shows which plugins there are.")

    async def findings(
        self, plugin: str, content: bytes, identity: tuple[Any, str], meta: Mapping[str, Any]
    ) -> Sequence[Finding]:
        """What a plugin finds in a content of that kind and media type; files are the caller's."""
        kind, media_type = identity
        path = self._folder / f"{os.getpid()}-{next(self._numbers)}"
        try:
            await _put(path, content)
            row = _event_row(kind, media_type, content, path, meta)
            body = {"op": "run", "hook": hook_of(kind), "events": [event_payload(row, self._library)]}
            return await self._dispatcher.ask(plugin, body)
        finally:
            path.unlink(missing_ok=True)

    def _identify(self, plugin: str, content: bytes) -> tuple[Any, str]:
        known = self._registry.usable.get(plugin)
        if known is None:
            raise NotFound(f"No plugin {plugin[:100]!r} is in use.", "`sensorium plugins` lists them.")
        identity = self._registry.identify(content[:HEAD], REQUEST)
        if identity is None:
            raise UsageError("The content is of no kind that is known.", "Send a picture, a sound, a film or a text.")
        if hook_of(identity[0]) not in known.hooks:
            takes = sorted(hook.removeprefix("on_") for hook in known.event_hooks - {FINISH})
            raise UsageError(
                f"{plugin} does not work on {identity[1]}.", f"It takes: {', '.join(takes) or 'no requests at all'}."
            )
        return identity


async def _put(path: Path, content: bytes) -> None:
    """Write a file, not durable; a small one here and now, because the way to a thread takes longer."""
    if len(content) <= SMALL:
        return _write(path, content)
    writing = asyncio.ensure_future(asyncio.to_thread(_write, path, content))
    try:
        await asyncio.shield(writing)
    finally:
        await asyncio.wait([writing])  # a thread cannot be cancelled


def _read(path: Path) -> bytes:
    if path.stat().st_size > LARGEST:
        raise WorkFailed(
            f"The answer is a file of {path.stat().st_size:,} bytes, which no message takes.",
            "Send less at a time, or drop it into an inbox folder.",
        )
    return path.read_bytes()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _event_row(kind: str, media_type: str, content: bytes, path: Path, meta: Mapping[str, Any]) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    metadata = json.dumps({"meta": dict(meta)} if meta else {})
    return {
        "id": event_id_of(kind, sha256), "kind": kind, "media_type": media_type, "sha256": sha256,
        "size": len(content), "location": str(path), "name": REQUEST, "source": REQUEST, "origin": REQUEST,
        "tags": "[]", "metadata": metadata, "parent": None, "role": "", "moment": None, "created": time.time(),
    }  # fmt: skip
