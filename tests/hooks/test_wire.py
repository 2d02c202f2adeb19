"""What a peer sends is either read exactly as it was meant, or refused as a WireError."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hooks.errors import WireError
from hooks.wire import ARENA_FROM, FRAME_LIMIT, HEADER, Arena, Message, decode, encode, frame_sizes, read_message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(st.text().filter(lambda key: key != "blobs"), JSON, max_size=6)
SMALL_BLOBS = st.lists(st.binary(max_size=300), max_size=4)
# Few random bytes, repeated: what matters is which side of the limit the length is on.
ANY_BLOBS = st.lists(
    st.builds(lambda bit, times: bit * times, st.binary(min_size=1, max_size=9), st.integers(0, 2 * ARENA_FROM)),
    max_size=4,
)


@pytest.fixture
def arena() -> Iterator[Arena]:
    arena = Arena.create()
    yield arena
    arena.close()


def reader(frame: bytes) -> Callable[[int], bytes]:
    """A blocking reader as sockets have it: what was asked for, or EOFError."""
    stream = io.BytesIO(frame)

    def read_exactly(size: int) -> bytes:
        data = stream.read(size)
        if len(data) < size:
            raise EOFError
        return data

    return read_exactly


def round_trip(message: Message, sender: Arena | None = None, receiver: Arena | None = None) -> Message:
    return read_message(reader(b"".join(encode(message, sender))), receiver)


@given(BODIES, SMALL_BLOBS)
def test_a_message_arrives_as_it_was_sent(body, blobs):
    arrived = round_trip(Message(body, list(blobs)))
    assert arrived.body == body
    assert [bytes(blob) for blob in arrived.blobs] == blobs


@given(ANY_BLOBS)
def test_blobs_of_any_size_arrive_through_arenas_of_two_processes(blobs):
    ours = Arena.create()
    theirs = Arena(os.dup(ours.fd))
    try:
        arrived = round_trip(Message({}, list(blobs)), ours, theirs)
        assert [bytes(blob) for blob in arrived.blobs] == blobs
    finally:
        ours.close()
        theirs.close()


def test_large_blobs_stay_out_of_the_frame(arena):
    frame = b"".join(encode(Message({}, [bytes(ARENA_FROM)]), arena))
    assert len(frame) < 200


def test_small_blobs_travel_inside_the_frame(arena):
    blob = bytes(range(200))
    assert blob in b"".join(encode(Message({}, [blob]), arena))


def test_an_arena_that_grows_keeps_what_is_in_it(arena):
    theirs = Arena(os.dup(arena.fd))
    first, second = b"a" * ARENA_FROM, b"b" * (8 << 20)
    arrived = round_trip(Message({}, [first]), arena, theirs)
    grown = round_trip(Message({}, [second]), arena, theirs)
    assert bytes(arrived.blobs[0]) == first
    assert bytes(grown.blobs[0]) == second
    theirs.close()


def test_an_arena_that_was_reset_is_written_from_its_beginning(arena):
    arena.put(b"x" * ARENA_FROM)
    arena.reset()
    assert arena.put(b"y" * ARENA_FROM) == (0, ARENA_FROM)


def test_an_arena_has_no_name_in_the_filesystem(arena):
    assert os.fstat(arena.fd).st_nlink == 0


@given(BODIES, SMALL_BLOBS, st.data())
def test_a_frame_that_is_cut_short_is_never_a_message(body, blobs, data):
    frame = b"".join(encode(Message(body, list(blobs))))
    cut = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(EOFError):
        read_message(reader(frame[:cut]))


@given(st.binary(max_size=400), st.binary(max_size=50))
def test_bytes_that_are_no_frame_are_refused_or_read_as_json(head, inline):
    try:
        message = decode(head, inline)
    except WireError:
        return
    assert isinstance(message.body, dict)


@given(st.lists(st.tuples(st.sampled_from(["inline", "arena", ""]), st.integers(-9, 99), st.integers(-9, 99))))
def test_a_blob_that_is_not_where_it_is_said_to_be_is_refused(places):
    inline = bytes(range(40))
    head = Message({"blobs": places}, [])
    try:
        message = decode(b"".join(encode(head))[HEADER.size :], inline)
    except WireError:
        return
    for (where, start, length), blob in zip(places, message.blobs, strict=True):
        assert where == "inline"
        assert bytes(blob) == inline[start : start + length]
        assert len(blob) == length


def test_a_blob_beyond_the_end_of_the_arena_is_refused(arena):
    arena.put(bytes(ARENA_FROM))
    with pytest.raises(WireError, match="are shared"):
        decode(b'{"blobs":[["arena",0,99999999]]}', b"", arena)


def test_an_arena_blob_without_an_arena_is_refused():
    with pytest.raises(WireError, match="does not have"):
        decode(b'{"blobs":[["arena",0,1]]}', b"")


@pytest.mark.parametrize(
    "head", [b"", b"{", b"[]", b"1", b'"text"', b"\xff\xfe", b'{"blobs":1}', b'{"blobs":[[1,2]]}', b"[" * 100_000]
)
def test_what_is_no_object_of_json_is_refused(head):
    with pytest.raises(WireError):
        decode(head, b"")


def test_a_frame_over_the_limit_is_refused_by_its_header():
    with pytest.raises(WireError, match="limit"):
        frame_sizes(HEADER.pack(FRAME_LIMIT, 1))


def test_a_message_over_the_limit_is_not_sent():
    with pytest.raises(WireError, match="limit"):
        encode(Message({}, [bytes(FRAME_LIMIT)]))


def test_text_of_any_kind_arrives_also_half_characters_of_odd_file_names():
    name = "caf\udce9 \n\x00 ✓"
    assert round_trip(Message({"name": name})).body == {"name": name}
