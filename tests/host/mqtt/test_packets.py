"""Packets from bytes: whole ones in whatever pieces they come, and nothing made of what is not MQTT."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from host.mqtt.packets import PUBLISH, MalformedPacket, PacketBuffer, Publish, read_publish

TEXTS = st.text(st.sampled_from("ab/é☃𝄞 "), min_size=1, max_size=40)


def packet(first: int, content: bytes) -> bytes:
    return bytes([first]) + VariableByteIntegers.encode(len(content)) + content


def publish(message: Publish, modern: bool) -> bytes:
    """A message as a broker sends it."""
    topic = message.topic.encode()
    first = PUBLISH << 4 | message.duplicate << 3 | message.qos << 1 | message.retain
    number = struct.pack("!H", message.mid) if message.qos else b""
    known = message.properties.pack() if message.properties else b"\0"
    head = struct.pack("!H", len(topic)) + topic + number
    return packet(first, head + (known if modern else b"") + message.payload)


def read(chunks: list[bytes], modern: bool) -> list[Publish]:
    buffer = PacketBuffer()
    return [read_publish(packet, modern) for chunk in chunks for packet in buffer.feed(chunk)]


def comparable(message: Publish) -> tuple[object, ...]:
    return (*message[:-1], message.properties and message.properties.json())


@st.composite
def messages(draw: st.DrawFn) -> Publish:
    qos = draw(st.integers(0, 1))
    known = None
    if draw(st.booleans()):
        known = Properties(PacketTypes.PUBLISH)
        known.MessageExpiryInterval = draw(st.integers(0, 2**32 - 1))
        known.CorrelationData = draw(st.binary(max_size=200))
        known.UserProperty = ("name", draw(TEXTS))
    return Publish(
        topic=draw(TEXTS),
        payload=draw(st.binary(max_size=300)),
        qos=qos,
        retain=draw(st.booleans()),
        duplicate=draw(st.booleans()),
        mid=draw(st.integers(1, 65535)) if qos else 0,
        properties=known,
    )


@given(st.lists(messages(), max_size=8), st.integers(1, 400))
def test_messages_are_read_as_they_were_sent_however_the_bytes_are_cut(sent, size):
    stream = b"".join(publish(message, modern=True) for message in sent)
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert list(map(comparable, read(chunks, modern=True))) == list(map(comparable, sent))


@given(messages())
def test_a_message_of_mqtt_3_has_no_properties(sent):
    sent = sent._replace(properties=None)
    assert read([publish(sent, modern=False)], modern=False) == [sent]


def test_other_packets_are_handed_on_whole():
    answers = [packet(0x40, b"\0\7"), packet(0xD0, b""), packet(0x90, bytes(300))]
    buffer = PacketBuffer()
    assert [bytes(found.data) for found in buffer.feed(b"".join(answers))] == answers


def test_it_is_known_how_much_of_a_large_message_is_missing():
    whole = packet(0x30, bytes(100_000))
    buffer = PacketBuffer()
    assert list(buffer.feed(whole[:40_000])) == []
    assert buffer.missing == len(whole) - 40_000
    assert [len(found.data) for found in buffer.feed(whole[40_000:])] == [len(whole)]
    assert buffer.missing == 0


@pytest.mark.parametrize(
    "wrong",
    [
        packet(0x30, b""),
        packet(0x30, b"\0\x09topic"),
        packet(0x32, b"\0\1a\0"),
        packet(0x30, b"\0\1a"),
        packet(0x30, b"\0\1a\x05\x02\0"),
        packet(0x30, b"\0\1a\x02\xff\xff"),
        packet(0x34, b"\0\1a\0\1\0"),
        b"\x30\xff\xff\xff\xff\x01",
    ],
    ids=["empty", "topic", "number", "no properties", "properties cut", "unknown property", "QoS 2", "length"],
)
def test_what_is_no_message_is_refused(wrong):
    with pytest.raises(MalformedPacket):
        read([wrong], modern=True)


@given(st.binary(max_size=200), st.booleans())
def test_whatever_comes_is_read_or_refused(content, modern):
    try:
        read([packet(0x32, content)], modern)
    except MalformedPacket:
        return
