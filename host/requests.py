"""A content that somebody waits for: one plugin works on it ahead of every job, and nothing of it is kept."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hooks.events import FINISH, hook_of
from host.dispatcher import Dispatcher
from host.errors import NotFound, UsageError
from host.findings import Finding
from host.handover import event_payload
from host.identify import HEAD, extension_of
from host.intake import event_id_of
from host.library import Library
from host.plugin_manager import PluginRegistry

REQUEST = "request"
SMALL = 256 * 1024


class Requests:
    """Puts contents to plugins; `folder` holds them while they are worked on."""

    def __init__(self, registry: PluginRegistry, dispatcher: Dispatcher, library: Library, folder: Path) -> None:
        self._registry = registry
        self._dispatcher = dispatcher
        self._library = library
        self._folder = folder
        self._numbers = itertools.count()

    async def answer(self, plugin: str, content: bytes, name: str = REQUEST) -> Sequence[Finding]:
        """What a plugin finds in a content, at its next batch boundary.

        Raises NotFound for an unknown plugin, UsageError for a content that it does not take, WorkFailed when the work
        fails. Cancelled, the work is not begun, or its outcome is dropped.
        """
        kind, media_type = self._identify(plugin, content, name)
        path = self._folder / f"{os.getpid()}-{next(self._numbers)}{extension_of(name)}"
        try:
            await _put(path, content)
            row = _event_row(kind, media_type, content, path, name)
            body = {"op": "run", "hook": hook_of(kind), "events": [event_payload(row, self._library)]}
            return await self._dispatcher.ask(plugin, body)
        finally:
            path.unlink(missing_ok=True)

    def _identify(self, plugin: str, content: bytes, name: str) -> tuple[Any, str]:
        known = self._registry.usable.get(plugin)
        if known is None:
            raise NotFound(f"No plugin {plugin[:100]!r} is in use.", "`sensorium plugins` lists them.")
        identity = self._registry.identify(content[:HEAD], name)
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


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _event_row(kind: str, media_type: str, content: bytes, path: Path, name: str) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {
        "id": event_id_of(kind, sha256), "kind": kind, "media_type": media_type, "sha256": sha256,
        "size": len(content), "location": str(path), "name": name, "source": REQUEST, "origin": name,
        "tags": "[]", "metadata": "{}", "parent": None, "role": "", "moment": None, "created": time.time(),
    }  # fmt: skip
