"""`sensorium mqtt watch` and `publish`: try the MQTT side without another tool."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, configuration
from host.cli.output import console, plural, show, show_json, text
from host.config import Address, Config, Mqtt
from host.control import connect
from host.errors import HostError, UsageError
from host.topics import TopicPattern, check_topic
from host.views import MqttView

if TYPE_CHECKING:
    from host.mqtt.client import Connection, Message

ATTEMPTS, BETWEEN = 50, 0.2  # looks for an embedded broker that starts, and seconds between them
SHOWN = 200  # characters of a payload that a line shows
LARGEST = 256 * 2**20 - 1  # bytes, by the specification

app = typer.Typer(no_args_is_help=True, help="Look at the MQTT topics, and publish to them.")


@app.command()
def watch(
    topic: Annotated[
        str | None,
        typer.Option("--topic", metavar="FILTER", help="What to watch; all that the host says and takes in."),
    ] = None,
    count: Annotated[int, typer.Option("--count", min=0, help="End after so many messages; 0: never.")] = 0,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show messages as they come, until Ctrl-C; a broker that goes away is waited for."""
    chosen = configuration(config, data)
    filters = _ours(chosen.mqtt)
    if topic is not None:
        try:
            filters = [TopicPattern.parse(topic).filter]
        except ValueError as error:
            raise UsageError(f"{topic!r:.100} cannot be watched: {error}.") from error
    asyncio.run(_watched(chosen, filters, count, as_json))


@app.command()
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to publish, as it is.")],
    topic: Annotated[str, typer.Option("--topic", help="Where to.")],
    retain: Annotated[bool, typer.Option("--retain", help="Have the broker keep it for newcomers.")] = False,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Publish a file; returns when the broker has it (QoS 1)."""
    chosen = configuration(config, data)
    try:
        check_topic(topic)
    except ValueError as error:
        raise UsageError(f"Nothing can be published to {topic!r:.100}: {error}.") from error
    content = _content(file)
    asyncio.run(_connected(chosen, lambda connection: connection.send(topic, content, retain=retain)))
    if as_json:
        show_json({"topic": topic, "bytes": len(content)})
    else:
        show(text(f"Published {plural(len(content), 'byte')} to {topic}."))


async def _broker(config: Config) -> tuple[Mqtt, Address]:
    """How a broker is spoken to, and where it is: of an embedded one the host that has started it knows."""
    settings = config.mqtt
    if settings.broker is not None and not settings.is_embedded:
        return settings, settings.address
    found = await _embedded(config)
    if found is not None and found.embedded:
        at = urlsplit(found.broker)
        return settings.model_copy(update={"broker": "embedded"}), Address(at.hostname or "", at.port or 0)
    if settings.is_embedded:
        raise UsageError(
            f"No host runs with {config.paths.data}, and the embedded broker runs with its host alone.",
            "Start it with `sensorium run`, or name the data folder of the one that runs with --data.",
        )
    raise UsageError("No broker is configured.", 'Set `broker` under [mqtt] in config.toml, as "embedded".')


async def _embedded(config: Config) -> MqttView | None:
    """The broker of the running host, once it is there: a host is seen before its broker serves."""
    found = None
    for _ in range(ATTEMPTS):
        host = await connect(config.paths.data)
        found = (await host.status()).mqtt if host else None
        if found is None or found.state != "connecting":
            break
        await asyncio.sleep(BETWEEN)
    return found


def _content(file: Path) -> bytes:
    try:
        if file.is_file() and file.stat().st_size > LARGEST:
            raise UsageError(f"{file} is larger than a message can be, {LARGEST} bytes.", "Use `sensorium submit`.")
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error


async def _connected(config: Config, use: Callable[[Connection], Awaitable[None]]) -> None:
    """Use one connection; its end is told as a sentence."""
    import aiomqtt  # with it half of a short command's start

    from host.mqtt.client import Connection, problem_of

    settings, address = await _broker(config)
    connection = Connection(settings, f"sensorium-cli-{os.getpid()}", address=address)
    try:
        async with connection:
            await use(connection)
    except (aiomqtt.MqttError, OSError) as error:
        raise problem_of(error, connection.address) from error


def _ours(settings: Mqtt) -> list[str]:
    """Filters for what the host says, and for what it takes in elsewhere."""
    base = f"{settings.base_topic}/"
    patterns = [TopicPattern.parse(one.topic) for one in settings.subscribe]
    taken = [pattern.filter.split("/", 2)[2] if pattern.is_shared else pattern.filter for pattern in patterns]
    return [f"{base}#", *(one for one in taken if not one.startswith(base))]


async def _watched(config: Config, filters: list[str], count: int, as_json: bool) -> None:
    """Show messages until there were `count`, on one connection after the other."""
    from host.mqtt.client import Connection, stay_connected

    settings, address = await _broker(config)
    shown = itertools.count(1)
    was_there = False

    def tell(problem: str) -> None:
        nonlocal was_there
        if problem and not was_there:
            raise HostError(problem)
        if problem or was_there:
            words = f"{problem} It is tried again." if problem else "Connected again."
            console(stderr=True).print(text((words, "yellow")))
        was_there = True

    async def use(connection: Connection) -> None:
        for one in filters:
            await connection.listen(one)
        while True:
            for message in await connection.arrived():
                _show(message, as_json)
                message.acknowledge()
                if next(shown) == count:
                    return

    await stay_connected(lambda: Connection(settings, f"sensorium-cli-{os.getpid()}", address=address), use, tell)


def _show(message: Message, as_json: bool) -> None:
    content = _readable(message.payload)
    if as_json:
        facts = {"topic": message.topic, "bytes": len(message.payload), "retained": message.retain, "text": content}
        print(json.dumps(facts), flush=True)
        return
    time = datetime.fromtimestamp(message.received).strftime("%H:%M:%S")
    shown = plural(len(message.payload), "byte") if content is None else content[:SHOWN]
    kept = " (retained)" if message.retain else ""
    show(text((f"{time} ", "dim"), f"{message.topic[:SHOWN]}{kept} ", (shown, "bold")))


def _readable(payload: bytes) -> str | None:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return None
