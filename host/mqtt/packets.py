"""MQTT's frames (MQTT 5 and 3.1.1, chapter 2.1) and its PUBLISH (3.3), read many at a time.

paho reads a packet with a call for each of its parts, and makes some sixty objects for the properties of each message:
for messages by the thousand that is more than all the rest of taking them in.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PUBLISH = 3
LONGEST_NUMBER = 4  # bytes of a variable byte integer
_TWO_BYTES = struct.Struct("!H")


class MalformedPacket(aiomqtt.MqttError):
    """What came is not MQTT; the connection cannot go on."""


class Packet(NamedTuple):
    """A whole packet: its first byte, where in `data` what follows its length begins, and all of it."""

    first: int
    start: int
    data: memoryview


class PacketBuffer:
    """Bytes as they come, packets as they are complete."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self.missing = 0  # bytes until the packet that has begun is complete, as far as that is known

    def feed(self, chunk: bytes) -> Iterator[Packet]:
        """The packets that a chunk completes; they are to be used before the next one. Raises MalformedPacket."""
        self._bytes += chunk
        at, end = 0, len(self._bytes)
        self.missing = 0
        with memoryview(self._bytes) as view:
            while (head := _number(view, at + 1)) is not None:
                length, start = head
                after = start + length
                if after > end:
                    self.missing = after - end
                    break
                with view[at:after] as data:
                    yield Packet(data[0], start - at, data)
                at = after
        del self._bytes[:at]


def _number(view: memoryview, at: int) -> tuple[int, int] | None:
    """A variable byte integer (MQTT 5, 1.5.5) and where it ends; None when it is not all there."""
    number = shift = 0
    for place in range(at, min(at + LONGEST_NUMBER, len(view))):
        digit = view[place]
        number |= (digit & 127) << shift
        if digit < 128:
            return number, place + 1
        shift += 7
    if len(view) >= at + LONGEST_NUMBER:
        raise MalformedPacket("a number has more than four bytes")
    return None


class Publish(NamedTuple):
    """A message as the packet has it; `mid` is 0 with QoS 0, `properties` None when it has none."""

    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    mid: int
    properties: Properties | None


def read_publish(packet: Packet, modern: bool) -> Publish:
    """The message in a packet of MQTT 5 or, not `modern`, 3.1.1. Raises MalformedPacket."""
    first, start, data = packet
    qos = first >> 1 & 3
    if qos > 1:
        raise MalformedPacket(f"a message with QoS {qos}, which nothing was subscribed with")
    try:
        at = start + 2 + _TWO_BYTES.unpack_from(data, start)[0]
        topic = str(data[start + 2 : at], "utf-8", "backslashreplace")
        mid = _TWO_BYTES.unpack_from(data, at)[0] if qos else 0
        at += 2 if qos else 0
        properties, at = _properties(data, at) if modern else (None, at)
    except (struct.error, IndexError) as error:
        raise MalformedPacket("a message ends too early") from error
    if at > len(data):
        raise MalformedPacket("a message ends too early")
    return Publish(topic, bytes(data[at:]), qos, bool(first & 1), bool(first & 8), mid, properties)


def _properties(data: memoryview, at: int) -> tuple[Properties | None, int]:
    """The properties that begin there, and where they end."""
    if not data[at]:
        return None, at + 1
    number = _number(data, at)
    if number is None:
        raise IndexError
    end = sum(number)
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    try:
        properties.unpack(bytes(data[at:end]))  # type: ignore[no-untyped-call]
    except Exception as error:  # paho raises whatever its reading of wrong bytes comes to
        raise MalformedPacket(f"properties that cannot be read: {error}") from error
    return properties, end
