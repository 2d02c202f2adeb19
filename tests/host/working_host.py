"""A whole host in this process, with plugins that do what the text that they are given says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from host.app import App, open_app
from host.config import Config
from tests.plugin_kit import BUILT_IN_OFF, install_plugin

# Says the length of a text; "torn" fails at once, "wait PATH" lasts until that file is there. Its vectors point
# where the first letter says, a to the right and z to the left, so that a search has a known answer.
READER = """
import math, os, time
from hooks import BadInput, Caption, Embedding, ModelSpec, hookimpl

@hookimpl
def model_spec(): return ModelSpec(name="reader", device="cpu", batch=4, keep_alive=60)

@hookimpl
def load(): pass

def vector(text):
    angle = (ord(text[0]) - 97) / 25 * math.pi
    return Embedding(space="letters", vector=[math.cos(angle), math.sin(angle)])

@hookimpl
def on_text(events):
    for event in events:
        text = event.open().read().decode()
        if text == "torn":
            raise BadInput("It is torn.", "Mend it.")
        while text.startswith("wait") and not os.path.exists(text.split()[1]):
            time.sleep(.01)
        yield event.result(Caption(text=str(len(text))))
        yield event.result(vector(text))

@hookimpl
def on_image(events):
    for event in events:
        yield event.result(vector("m"))

@hookimpl
def embed_query(texts):
    return [vector(text) for text in texts]
"""


class Place:
    """The folders of a host, its configuration, and the plugins that are installed for it."""

    def __init__(self, root: Path, site: Path) -> None:
        self.root, self.site = root, site
        self.inbox, self.outbox, self.data = root / "inbox", root / "outbox", root / "data"
        self.settings: dict[str, Any] = {}
        install_plugin(site, "reader", READER)

    @property
    def config(self) -> Config:
        table = {
            "paths": {"data": str(self.data), "outbox": str(self.outbox)},
            "inbox": [{"path": str(self.inbox), "quiet": 0.05}],
            "jobs": {"backoff": [0.05]},
            "plugins": BUILT_IN_OFF,
            **self.settings,
        }
        return Config.model_validate(table)

    def file(self, name: str, content: str) -> str:
        """A file outside of the inbox."""
        path = self.root / "elsewhere" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(content)
        return str(path)

    def open(self, **options: Any) -> contextlib.AbstractAsyncContextManager[App]:
        return open_app(self.config, **options)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[App]:
        """A host at work, stopped cleanly in the end."""
        async with self.open() as app:
            running = asyncio.create_task(app.run())
            while app.running_pid is None or not app._workers_up:  # noqa: ASYNC110 - it takes a moment
                await asyncio.sleep(0.002)
            try:
                yield app
            finally:
                app.stop()
                await running
