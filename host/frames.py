"""The host's end of a worker's socket: messages as they arrive, without a stream's copies and wake-ups in between."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

from hooks import wire
from hooks.errors import WireError
from hooks.wire import Arena, Message


class Frames(asyncio.Protocol):
    """Messages both ways over one socket; blobs of those that come lie in `arena` where they are large.

    What a socket holds at most is read ahead, and whoever reads takes each message at once, so nothing piles up.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._transport: asyncio.Transport | None = None
        self._rest = bytearray()  # of a frame that has not come whole
        self._needed = wire.HEADER.size  # bytes of the rest, before there is anything to do
        self._messages: deque[Message] = deque()
        self._arrived: asyncio.Future[None] | None = None
        self._end: Exception | None = None

    def send(self, message: Message, arena: Arena) -> None:
        """Write a message, its large blobs into `arena`. Raises ConnectionError when the other side is gone."""
        if self._transport is None or self._end is not None:
            raise ConnectionError("the worker is not running")
        self._transport.writelines(wire.encode(message, arena))

    async def receive(self) -> Message:
        """The next message. Raises EOFError at the end, ConnectionError when the connection broke, WireError."""
        while not self._messages:
            if self._end is not None:
                raise self._end
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        return self._messages.popleft()

    def close(self) -> None:
        """Give up the socket."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop with some bytes: mostly one or several whole frames."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data, self._rest = bytes(self._rest), bytearray()
        try:
            taken = self._take(data)
        except WireError as error:
            self._finish(error)
            return
        if taken < len(data):
            self._rest += data[taken:]
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop, once."""
        self._finish(exc or EOFError("the connection has ended"))

    def _take(self, data: bytes) -> int:
        """Read the whole frames in the data; how many bytes they are."""
        start, header = 0, wire.HEADER.size
        while True:
            self._needed = header
            if len(data) - start < header:
                return start
            head, inline = wire.frame_sizes(data[start : start + header])
            self._needed += head + inline
            if len(data) - start < self._needed:
                return start
            middle, end = start + header + head, start + self._needed
            self._messages.append(wire.decode(data[start + header : middle], data[middle:end], self._arena))
            start = end

    def _finish(self, error: Exception) -> None:
        if self._end is None:
            self._end = error
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)
