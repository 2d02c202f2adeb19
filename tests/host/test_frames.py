"""The host's end of a worker's socket: whatever the pieces in which bytes come, the messages are the same."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooks import wire
from hooks.errors import WireError
from hooks.wire import Arena, Message
from host.frames import Frames

MESSAGES = [Message({"op": "result", "n": n}, [bytes([n]) * n * 7]) for n in range(5)] + [Message({"op": "done"})]
STREAM = b"".join(bytes(part) for message in MESSAGES for part in wire.encode(message))


@pytest.fixture
def arena() -> Iterator[Arena]:
    made = Arena.create()
    yield made
    made.close()


@pytest.fixture
async def ends(arena: Arena) -> AsyncIterator[tuple[Frames, socket.socket]]:
    ours, theirs = socket.socketpair()
    _, frames = await asyncio.get_running_loop().create_unix_connection(lambda: Frames(arena), sock=ours)
    with theirs:
        yield frames, theirs
    frames.close()


async def all_of(frames: Frames) -> list[tuple[dict[str, object], list[bytes]]]:
    received = [await frames.receive() for _ in MESSAGES]
    return [(message.body, [bytes(blob) for blob in message.blobs]) for message in received]


@given(st.lists(st.integers(1, len(STREAM) - 1), unique=True).map(sorted))
def test_the_pieces_in_which_bytes_come_do_not_matter(cuts: list[int]) -> None:
    arena = Arena.create()
    frames = Frames(arena)
    for start, end in zip([0, *cuts], [*cuts, len(STREAM)], strict=True):
        frames.data_received(STREAM[start:end])
    expected = [(message.body, [bytes(blob) for blob in message.blobs]) for message in MESSAGES]
    assert asyncio.run(all_of(frames)) == expected
    arena.close()


async def test_what_was_said_before_the_end_is_still_read(ends: tuple[Frames, socket.socket]) -> None:
    frames, worker = ends
    worker.sendall(STREAM + STREAM[:5])
    worker.close()
    assert len(await all_of(frames)) == len(MESSAGES)
    with pytest.raises(EOFError):
        await frames.receive()


async def test_nothing_is_sent_to_a_worker_that_has_ended(ends: tuple[Frames, socket.socket], arena: Arena) -> None:
    frames, worker = ends
    worker.close()
    with pytest.raises(EOFError):
        await frames.receive()
    with pytest.raises(ConnectionError, match="not running"):
        frames.send(Message({"op": "run"}), arena)


async def test_a_frame_over_the_limit_is_refused_at_its_header(ends: tuple[Frames, socket.socket]) -> None:
    frames, worker = ends
    worker.sendall(wire.HEADER.pack(wire.FRAME_LIMIT, 1))
    with pytest.raises(WireError, match="limit"):
        await frames.receive()


async def test_what_is_no_frame_is_told(ends: tuple[Frames, socket.socket]) -> None:
    frames, worker = ends
    worker.sendall(wire.HEADER.pack(4, 0) + b"\xff\xff\xff\xff")
    with pytest.raises(WireError):
        await frames.receive()


async def test_an_answer_of_many_megabytes_comes_whole(ends: tuple[Frames, socket.socket]) -> None:
    frames, worker = ends
    blob = bytes(range(256)) * 40_000
    stream = b"".join(bytes(part) for part in wire.encode(Message({"op": "result"}, [blob])))
    sending = asyncio.create_task(asyncio.to_thread(worker.sendall, stream))
    message = await frames.receive()
    await sending
    assert bytes(message.blobs[0]) == blob
