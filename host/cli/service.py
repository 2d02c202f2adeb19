"""Who answers a command: the running host over its socket, else this process by itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar, cast

from host.config import Config
from host.control import connect
from host.errors import AlreadyRunning
from host.views import Service

ATTEMPTS = 150
BETWEEN = 0.2  # seconds: a host that starts does not listen yet; another command is done before long

Answer = TypeVar("Answer")


def ask(config: Config, question: Callable[[Service], Awaitable[Answer]], *, writes: bool = False) -> Answer:
    """The service's answer to one question."""

    async def answer() -> Answer:
        async with open_service(config, writes=writes) as service:
            return await question(service)

    return asyncio.run(answer())


@contextlib.asynccontextmanager
async def open_service(config: Config, *, writes: bool) -> AsyncIterator[Service]:
    """The running host, or one that lives in this process for as long as the block lasts.

    With `writes` it takes the data directory for itself: AlreadyRunning when somebody has it who does not listen.
    """
    async with contextlib.AsyncExitStack() as stack:
        yield await _service(stack, config, writes)


async def _service(stack: contextlib.AsyncExitStack, config: Config, writes: bool) -> Service:
    attempts = ATTEMPTS
    while True:
        client = await connect(config.paths.data)
        if client is not None:
            return cast(Service, client)
        from host.app import open_app  # not needed beside a running host, and the larger part of a start

        try:
            return await stack.enter_async_context(open_app(config, read_only=not writes))
        except AlreadyRunning:
            attempts -= 1
            if attempts == 0:
                raise
        await asyncio.sleep(BETWEEN)
