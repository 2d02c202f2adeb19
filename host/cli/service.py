"""Who answers a command: the running host over its socket, else this process by itself."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, TypeVar, cast

from host.config import Config
from host.control import ControlClient, connect
from host.errors import AlreadyRunning
from host.views import Service

if TYPE_CHECKING:
    from host.app import App

ATTEMPTS = 150
BETWEEN = 0.2  # seconds: a host that starts does not listen yet; another command is done before long

Answer = TypeVar("Answer")


def ask(
    config: Config,
    question: Callable[[Service], Awaitable[Answer]],
    *,
    writes: bool = False,
    else_reads: bool = False,
) -> Answer:
    """The service's answer to one question. Ctrl-C ends it, and any worker of this process, at once.

    With `writes` and `else_reads` a question that would only have left caches behind does not wait for its turn.
    """

    async def answer() -> Answer:
        async with open_service(config, writes=writes, else_reads=else_reads) as service:
            with _ends_at_once(service):
                return await question(service)

    try:
        return asyncio.run(answer())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@contextlib.contextmanager
def _ends_at_once(service: Service) -> Iterator[None]:
    """On Ctrl-C nobody waits for the end of a batch that is not wanted any more: it is done again by the next host."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupt() -> None:
        if not isinstance(service, ControlClient):
            cast("App", service).kill()
        if task is not None:
            task.cancel()

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


@contextlib.asynccontextmanager
async def open_service(config: Config, *, writes: bool, else_reads: bool = False) -> AsyncIterator[Service]:
    """The running host, or one that lives in this process for as long as the block lasts.

    With `writes` it takes the data directory for itself: AlreadyRunning when somebody has it who does not listen; with
    `else_reads` it only reads then.
    """
    async with contextlib.AsyncExitStack() as stack:
        yield await _service(stack, config, writes, else_reads)


async def _service(stack: contextlib.AsyncExitStack, config: Config, writes: bool, else_reads: bool) -> Service:
    attempts = ATTEMPTS
    while True:
        client = await connect(config.paths.data)
        if client is not None:
            return cast(Service, client)
        from host.app import open_app  # not needed beside a running host, and the larger part of a start

        try:
            return await stack.enter_async_context(open_app(config, read_only=not writes))
        except AlreadyRunning:
            if else_reads:
                return await stack.enter_async_context(open_app(config, read_only=True))
            attempts -= 1
            if attempts == 0:
                raise
        await asyncio.sleep(BETWEEN)
