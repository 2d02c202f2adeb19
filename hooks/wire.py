"""Frames between processes: a JSON header and raw bytes, over a Unix socket.

A frame is `>II` (length of the JSON, length of the inline bytes), the JSON in UTF-8, the inline bytes. Blobs of at
least `ARENA_FROM` bytes go through an `Arena` instead, where the connection has one: the receiver must take what it
needs before it answers, because the sender's next request writes over it. Nothing here ever unpickles.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pydantic_core

from hooks.errors import WireError

HEADER = struct.Struct(">II")
ARENA_FROM = 64 * 1024
FRAME_LIMIT = 64 * 1024 * 1024

Buffer = bytes | bytearray | memoryview


@dataclass(slots=True)
class Message:
    """One frame: `body["op"]` says what it is about; `blobs` lie in the order in which the body speaks of them."""

    body: dict[str, Any]
    blobs: list[Any] = field(default_factory=list)

    @property
    def op(self) -> str:
        return str(self.body.get("op", ""))


class Arena:
    """An anonymous shared file, inherited by a child process: one side writes, the other reads."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map: mmap.mmap | None = None
        self._end = 0

    @classmethod
    def create(cls) -> Arena:
        """A new, empty one that leaves no name behind, whatever happens to the processes."""
        if hasattr(os, "memfd_create"):
            return cls(os.memfd_create("sensorium"))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def reset(self) -> None:
        """Forget all blobs: the other side has taken what it needs."""
        self._end = 0

    def put(self, data: Buffer) -> tuple[int, int]:
        """Copy a blob in and say where it lies (offset and length in bytes)."""
        view = memoryview(data).cast("B")
        start, self._end = self._end, self._end + len(view)
        self._mapped(self._end, grow=True)[start : self._end] = view
        return start, len(view)

    def view(self, start: int, length: int) -> memoryview:
        """The blob in place; valid until the other side's next request."""
        return memoryview(self._mapped(start + length, grow=False))[start : start + length]

    def close(self) -> None:
        """Give up the descriptor; the mapping goes when nobody looks at it."""
        self._map = None
        os.close(self.fd)

    def _mapped(self, size: int, *, grow: bool) -> mmap.mmap:
        if self._map is None or len(self._map) < size:
            if grow:
                os.ftruncate(self.fd, max(2 * size, 1024 * 1024))
            available = os.fstat(self.fd).st_size
            if available < size:
                raise WireError(f"A blob ends at byte {size}, but only {available} bytes are shared.")
            self._map = mmap.mmap(self.fd, available)
        return self._map


def encode(message: Message, arena: Arena | None = None) -> list[Buffer]:
    """The parts of a frame, to be written one after the other."""
    places, inline, used = [], [], 0
    for blob in message.blobs:
        length = memoryview(blob).nbytes
        if arena is not None and length >= ARENA_FROM:
            places.append(("arena", *arena.put(blob)))
        else:
            places.append(("inline", used, length))
            inline.append(blob)
            used += length
    body = {**message.body, "blobs": places} if places else message.body
    head = _to_json(body)
    if len(head) + used > FRAME_LIMIT:
        raise WireError(f"A message of {len(head) + used} bytes is over the limit of {FRAME_LIMIT}.")
    return [HEADER.pack(len(head), used) + head, *inline]


def _to_json(body: dict[str, Any]) -> bytes:
    """Several times faster than `json`, which counts for small messages; half a surrogate pair is beyond it."""
    try:
        return pydantic_core.to_json(body)
    except ValueError:
        return json.dumps(body, separators=(",", ":")).encode()


def _from_json(text: bytes) -> Any:
    try:
        return pydantic_core.from_json(text)
    except ValueError:
        return json.loads(text)


def frame_sizes(header: bytes) -> tuple[int, int]:
    """Lengths of the JSON and of the inline bytes that follow."""
    head, used = HEADER.unpack(header)
    if head + used > FRAME_LIMIT:
        raise WireError(f"A message of {head + used} bytes is announced; the limit is {FRAME_LIMIT}.")
    return head, used


def decode(head: Buffer, inline: Buffer, arena: Arena | None = None) -> Message:
    """The message of a frame; its blobs are views into `inline` or into the arena."""
    try:
        body = _from_json(bytes(head))
        places = body.pop("blobs", [])
        blobs = [_blob(place, memoryview(inline), arena) for place in places]
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WireError(f"A frame could not be read: {error}.") from error
    return Message(body, blobs)


def _blob(place: Sequence[Any], inline: memoryview, arena: Arena | None) -> memoryview:
    where, start, length = place
    if where == "inline" and 0 <= start <= start + length <= len(inline):
        return inline[start : start + length]
    if where == "arena" and arena is not None and start >= 0 and length >= 0:
        return arena.view(start, length)
    raise WireError(f"A blob lies in {where!r} from {start} on ({length} bytes), which this connection does not have.")


def read_message(read_exactly: Callable[[int], bytes], arena: Arena | None = None) -> Message:
    """The next message from a blocking reader; EOFError from `read_exactly` passes through."""
    head, used = frame_sizes(read_exactly(HEADER.size))
    return decode(read_exactly(head), read_exactly(used) if used else b"", arena)
