"""One connection to a broker, on aiomqtt: acknowledged by hand, bounded in memory, made anew each time.

    connecting → connected → lost → (a pause with jitter) → connecting …

This is the one module that touches what aiomqtt and paho do not publish:
- messages are acknowledged by `Message.acknowledge` alone (`manual_ack_set`, `ack`), and only on the connection that
  they came by: the numbers of another one mean other messages there;
- what arrives goes into a list that is taken as a whole. aiomqtt's own iterator makes a task for each message, and
  loses messages when it is cancelled;
- messages are read from the bytes by `mqtt.packets`, and acknowledgements written, many at a time; paho gets every
  other packet. A system call for each of them hands the interpreter to another thread, and the event loop waits for it;
- while more than `HELD_LIMIT` bytes or `window` messages wait for their acknowledgement nothing more is read, so that
  the broker waits: mosquitto 2.0 keeps to the window only until the first acknowledgement. aiomqtt's own limit throws
  acknowledged messages away.
A connection is used once: a used `aiomqtt.Client` sends old numbers again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import random
import socket
import ssl
import struct
import time
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiomqtt
import paho.mqtt.client as paho
from aiomqtt.exceptions import MqttCodeError, MqttConnectError
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from host.config import Address, Mqtt
from host.errors import HostError
from host.log import get_logger
from host.mqtt.packets import PUBLISH, Packet, PacketBuffer, read_publish
from host.topics import check_topic

HELD_LIMIT = 64 * 2**20  # bytes of payload
CHUNK = 64 * 1024  # bytes that are read at a time
PUBACK = struct.Struct("!BBH")  # MQTT 3.4: type, remaining length, number; in MQTT 5 this much says success
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0  # seconds between attempts
STEADY = 10.0  # seconds after which a connection counts as a good one
REFUSED_CONNECTIONS = {4: "wrong user or password", 5: "not allowed", 134: "wrong user or password", 135: "not allowed"}
UNSPECIFIED = 128  # what paho says of a connection that just broke

log = get_logger(__name__)


class MqttProblem(HostError):
    """The broker cannot be reached or refused something; it may be well later."""


class Refused(MqttProblem):
    """The broker does not take messages on a topic; mosquitto before 2.1 ends the connection, too."""


class Message(NamedTuple):
    """A message as it came. `mid` is the connection's number for it, 0 with QoS 0; `properties` are MQTT 5's.

    `left_out` is how many bytes its payload had, when those were more than the connection takes: then it is empty.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool
    duplicate: bool
    mid: int
    received: float
    properties: Properties | None
    connection: Connection
    left_out: int = 0

    def acknowledge(self) -> None:
        """Tell the broker that the message is safe; without effect when its connection has ended."""
        acknowledge([self])

    @property
    def expires(self) -> float | None:
        """When it is worth nothing any more, in seconds since 1970."""
        interval = getattr(self.properties, "MessageExpiryInterval", None)
        return None if interval is None else self.received + float(interval)


def acknowledge(messages: Sequence[Message]) -> None:
    """Acknowledge messages in this order, each on the connection that it came by."""
    for connection, group in itertools.groupby(messages, key=attrgetter("connection")):
        connection._acknowledge(list(group))


class Connection(aiomqtt.Client):
    """One connection, from `async with` to its end.

    `name` is the client's identifier; with `keep_session` the broker keeps subscriptions and messages for it while it
    is away. `window` is how many unacknowledged messages the broker may have under way (MQTT 5). Of a message with more
    than `largest` bytes the payload is not kept: a stream of such messages takes no memory.
    """

    def __init__(
        self,
        settings: Mqtt,
        name: str,
        *,
        keep_session: bool = False,
        window: int = 1000,
        largest: int = 2**28,
        will: aiomqtt.Will | None = None,
        address: Address | None = None,
    ) -> None:
        self.address = address or settings.address
        modern = settings.version == "5"
        user, password = settings.credentials()
        super().__init__(
            self.address.host,
            self.address.port,
            identifier=name,
            username=user,
            password=password,
            protocol=aiomqtt.ProtocolVersion.V5 if modern else aiomqtt.ProtocolVersion.V311,
            clean_session=None if modern else not keep_session,
            clean_start=not keep_session if modern else paho.MQTT_CLEAN_START_FIRST_ONLY,
            properties=_wishes(window, settings.session_expiry if keep_session else 0) if modern else None,
            tls_context=tls_context(settings) if self.address.tls else None,
            keepalive=settings.keepalive,
            will=will,
        )
        self._client.manual_ack_set(True)
        self._receive_some, self._client._sock_recv = self._client._sock_recv, self._receive  # type: ignore[method-assign]
        self._packets = PacketBuffer()
        self._for_paho = memoryview(b"")
        self._has_ended = False
        self.is_modern = modern
        self.maximum_packet: int | None = None  # bytes, as the broker said
        self.session_present = False
        self.is_open = False
        self._arrived: list[Message] = []
        self._largest = largest
        self._window = window
        self._held = self._held_bytes = 0
        self._reading = True
        self._has_arrived = asyncio.Event()
        self._sending: dict[int, asyncio.Future[None]] = {}

    async def __aenter__(self) -> Self:
        try:
            await super().__aenter__()
        except BaseException:
            self._client._sock_close()
            raise
        self.is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_open = False
        self._read_on()  # or the broker's answer to our goodbye would never be read
        with contextlib.suppress(aiomqtt.MqttError):
            await super().__aexit__(kind, error, trace)
        self._client._sock_close()
        if self._misc_task is not None:
            self._misc_task.cancel()

    # -- coming in ---------------------------------------------------------------------------------------------------

    async def listen(self, filter: str, qos: int = 1, *, ignore_retained: bool = False) -> None:
        """Subscribe. Raises MqttProblem when the broker refuses, or grants less than was asked for."""
        if self.is_modern:
            options = SubscribeOptions(qos=qos)
            if ignore_retained:
                options.retainHandling = SubscribeOptions.RETAIN_DO_NOT_SEND
            granted = await self.subscribe(filter, options=options)
        else:
            granted = await self.subscribe(filter, qos=qos)
        codes = [code if isinstance(code, int) else code.value for code in granted]
        if any(code >= 128 for code in codes):
            raise MqttProblem(
                f"The broker {self.address} refused the subscription to {filter}.",
                "Allow this user to read it in the broker's access list, or name another topic.",
            )
        if min(codes) < qos:
            log.warning("the broker grants less", filter=filter, asked=qos, granted=min(codes))

    async def arrived(self) -> list[Message]:
        """Everything that came since the last call, at least one message; may be cancelled without loss.

        Raises aiomqtt.MqttError when the connection is lost.
        """
        while not self._arrived:
            self._has_arrived.clear()
            waiting = asyncio.ensure_future(self._has_arrived.wait())
            try:
                await asyncio.wait((waiting, self._disconnected), return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
            if self._disconnected.done():
                raise aiomqtt.MqttError("the connection was lost") from self._disconnected.exception()
        messages, self._arrived = self._arrived, []
        return messages

    @property
    def waiting(self) -> int:
        """Messages that came and were not taken yet."""
        return len(self._arrived)

    def _acknowledge(self, messages: Sequence[Message]) -> None:
        self._held -= len(messages)
        self._held_bytes -= sum(len(message.payload) for message in messages)
        packets = b"".join(PUBACK.pack(paho.PUBACK, 2, message.mid) for message in messages if message.qos == 1)
        if self.is_open and packets:
            self._client._packet_queue(paho.PUBACK, packets, 0, 0)
        if self._held <= self._window // 2 and self._held_bytes <= HELD_LIMIT // 2:
            self._read_on()

    def _on_socket_open(self, client: paho.Client, userdata: Any, sock: Any) -> None:
        # Called in the thread that connects; aiomqtt's own reader takes one packet a turn.
        super()._on_socket_open(client, userdata, sock)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or an answer waits 40 ms behind a PUBACK
        self._loop.call_soon_threadsafe(self._loop.add_reader, sock.fileno(), self._read)

    def _read(self) -> None:
        try:
            chunk = self._receive_some(max(CHUNK, self._packets.missing))
        except BlockingIOError:
            return
        except OSError as error:
            self._cannot_connect(error)
            chunk = b""
        try:
            for packet in self._packets.feed(chunk):
                if packet.first >> 4 == PUBLISH:
                    self._note(packet)
                else:
                    self._hand_to_paho(bytes(packet.data))
            if not chunk:
                self._cannot_connect(ConnectionResetError(errno.ECONNRESET, "it closed the connection"))
                self._has_ended = True
                self._hand_to_paho(b"")
            elif self._held >= self._window or self._held_bytes > HELD_LIMIT:
                self._pause_reading()
            elif self._is_decoded():
                self._loop.call_soon(self._read)
        except Exception as error:  # noqa: BLE001 - whatever is made of bytes from outside ends this connection
            self._pause_reading()
            if not self._disconnected.done():
                self._disconnected.set_exception(error)

    def _note(self, packet: Packet) -> None:
        topic, payload, qos, retain, duplicate, mid, properties = read_publish(packet, self.is_modern)
        left_out = len(payload) if len(payload) > self._largest else 0
        content = b"" if left_out else payload
        message = Message(topic, content, qos, retain, duplicate, mid, time.time(), properties, self, left_out)
        self._arrived.append(message)
        self._held += 1
        self._held_bytes += len(message.payload)
        self._has_arrived.set()

    def _hand_to_paho(self, data: bytes) -> None:
        self._for_paho = memoryview(data)
        self._client.loop_read()

    def _receive(self, bufsize: int) -> bytes:
        """What paho asks its socket for: a packet that is here as a whole, and then nothing, or the end."""
        if not self._for_paho and not self._has_ended:
            raise BlockingIOError
        wanted, self._for_paho = self._for_paho[:bufsize], self._for_paho[bufsize:]
        return bytes(wanted)

    def _cannot_connect(self, reason: OSError) -> None:
        """Say why at once, where nobody has answered yet: aiomqtt would wait for its time limit, and not know."""
        if not self._connected.done():
            error = aiomqtt.MqttError(str(reason))
            error.__cause__ = reason
            self._connected.set_exception(error)

    def _is_decoded(self) -> bool:
        """Whether TLS holds bytes that the event loop would never be told of."""
        pending = getattr(self._client.socket(), "pending", None)
        return bool(pending and pending())

    def _pause_reading(self) -> None:
        sock = self._client.socket()
        if self._reading and sock is not None:
            self._loop.remove_reader(sock.fileno())
            self._reading = False

    def _read_on(self) -> None:
        sock = self._client.socket()
        if not self._reading and sock is not None:
            self._loop.add_reader(sock.fileno(), self._read)
            self._loop.call_soon(self._read)
        self._reading = True

    # -- going out ---------------------------------------------------------------------------------------------------

    async def send(
        self,
        topic: str,
        payload: bytes | str = b"",
        *,
        qos: int = 1,
        retain: bool = False,
        properties: Properties | None = None,
    ) -> None:
        """Publish; with QoS 1 it returns when the broker has the message.

        Raises MqttProblem when it cannot be published or the broker refuses it, aiomqtt.MqttError when the connection
        is lost: then it may or may not have arrived.
        """
        content = payload.encode() if isinstance(payload, str) else payload
        self._check_sendable(topic, content)
        info = self._client.publish(topic, content, qos, retain, properties)
        if info.rc != paho.MQTT_ERR_SUCCESS:
            raise aiomqtt.MqttCodeError(info.rc, f"nothing can be sent to {self.address}")
        if info.is_published():
            return
        answer = self._sending[info.mid] = self._loop.create_future()
        try:
            await asyncio.wait((answer, self._disconnected), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._sending.pop(info.mid, None)
        if not answer.done():
            answer.cancel()
            raise aiomqtt.MqttError("the connection was lost") from self._disconnected.exception()
        answer.result()

    def _check_sendable(self, topic: str, content: bytes) -> None:
        try:
            check_topic(topic)
        except ValueError as error:
            raise MqttProblem(f"Nothing can be published to {topic[:100]!r}: {error}.") from error
        room = self.maximum_packet
        if room is not None and len(content) + len(topic.encode()) + 64 > room:
            raise MqttProblem(
                f"{len(content)} bytes are more than the broker {self.address} takes: packets up to {room} bytes.",
                "Send something smaller, or raise max_packet_size in the broker's configuration.",
            )

    def _on_publish(self, client: paho.Client, userdata: Any, mid: int, code: Any, properties: Any) -> None:
        answer = self._sending.get(mid)
        if answer is None or answer.done():
            super()._on_publish(client, userdata, mid, code, properties)
        elif getattr(code, "is_failure", False):
            advice = "Allow this user to write it in the broker's access list."
            answer.set_exception(Refused(f"The broker {self.address} refused the message: {code}.", advice))
        else:
            answer.set_result(None)

    def _on_connect(
        self, client: paho.Client, userdata: Any, flags: Any, code: Any, properties: Properties | None = None
    ) -> None:
        self.maximum_packet = getattr(properties, "MaximumPacketSize", None)
        self.session_present = bool(flags.session_present)
        super()._on_connect(client, userdata, flags, code, properties)


def _wishes(window: int, session_expiry: int) -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.ReceiveMaximum = window
    properties.SessionExpiryInterval = session_expiry
    return properties


def tls_context(settings: Mqtt) -> ssl.SSLContext:
    """What the connection is secured with. Raises MqttProblem when a file cannot be used."""
    try:
        context = ssl.create_default_context(cafile=settings.ca)
        if settings.certificate is not None:
            context.load_cert_chain(settings.certificate, settings.key)
    except (OSError, ssl.SSLError) as error:
        files = ", ".join(str(path) for path in (settings.ca, settings.certificate, settings.key) if path)
        raise MqttProblem(
            f"TLS cannot be set up with {files}: {error.strerror or error}.",
            "`ca`, `certificate` and `key` in [mqtt] name PEM files that the host may read.",
        ) from error
    return context


def problem_of(error: BaseException, address: Address) -> MqttProblem:
    """Why a connection cannot be made or was lost, in words, and what would put it right."""
    if isinstance(error, MqttProblem):
        return error
    cause = error.__context__ or error.__cause__ or error
    if isinstance(error, MqttConnectError):
        return _refused(error, address)
    if isinstance(cause, ssl.SSLCertVerificationError):
        advice = "Renew the broker's certificate, or name the authority that signed it as `ca` in [mqtt]."
        return MqttProblem(f"The broker {address} is not trusted: {cause.verify_message}.", advice)
    if isinstance(cause, ssl.SSLError):
        advice = "Check that this port speaks TLS, and `certificate` and `key` in [mqtt]."
        return MqttProblem(f"TLS with the broker {address} failed: {cause.reason or cause}.", advice)
    if isinstance(cause, OSError):
        reason = cause.strerror or str(cause) or "it does not answer"
        tls = "that this port speaks TLS" if address.tls else "that this port is not one for TLS (mqtts://)"
        advice = f"Check that it runs, its address, and {tls}."
        return MqttProblem(f"The broker {address} cannot be reached: {reason}.", advice)
    return _lost(cause, address)


def _refused(error: MqttConnectError, address: Address) -> MqttProblem:
    code = error.rc.value if isinstance(error.rc, ReasonCode) else error.rc or 0
    if code in REFUSED_CONNECTIONS:
        advice = "Set SENSORIUM_MQTT_USER and SENSORIUM_MQTT_PASSWORD to what the broker knows."
        return MqttProblem(f"The broker {address} refused the connection: {REFUSED_CONNECTIONS[code]}.", advice)
    return MqttProblem(f"The broker {address} refused the connection: {error}.", "The broker's own log says why.")


def _lost(cause: BaseException, address: Address) -> MqttProblem:
    said = cause.rc if isinstance(cause, MqttCodeError) and isinstance(cause.rc, ReasonCode) else None
    reason = f": {said}" if said is not None and said.value != UNSPECIFIED else ""
    advice = "Check that it runs; if this happens again and again, another client has the same `client_id`."
    return MqttProblem(f"The connection to the broker {address} was lost{reason}.", advice)


async def stay_connected(
    connect: Callable[[], Connection],
    use: Callable[[Connection], Awaitable[None]],
    on_state: Callable[[str], None] = lambda problem: None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Use one connection after the other, with a pause between them; ends when `use` returns, or by cancellation.

    `on_state` is told why there is no connection, and an empty text when there is one.
    """
    pause = FIRST_PAUSE
    while True:
        began = time.monotonic()
        connection: Connection | None = None
        try:
            connection = connect()
            async with connection:
                on_state("")
                await use(connection)
                return
        except MqttProblem as error:
            on_state(str(error))
        except (aiomqtt.MqttError, OSError) as error:
            if connection is None:
                raise
            on_state(str(problem_of(error, connection.address)))
        pause = FIRST_PAUSE if time.monotonic() - began > STEADY else min(2 * pause, LONGEST_PAUSE)
        await sleep(pause * random.uniform(0.5, 1.0))
