"""`sensorium mqtt watch` and `publish`: try the MQTT side without another tool."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from host.cli.options import AsJson, ConfigFile, configuration
from host.cli.output import plural, show, show_json, text
from host.config import Config, Mqtt
from host.errors import UsageError
from host.topics import TopicPattern, check_topic

if TYPE_CHECKING:
    from host.mqtt.client import Connection, Message

SHOWN = 200  # characters of a payload that a line shows
LARGEST = 256 * 2**20 - 1  # bytes, by the specification

app = typer.Typer(no_args_is_help=True, help="Look at the MQTT topics, and publish to them.")


@app.command()
def watch(
    topic: Annotated[str, typer.Option("--topic", metavar="FILTER", help="What to watch.")] = "sensorium/#",
    count: Annotated[int, typer.Option("--count", min=0, help="End after so many messages; 0: never.")] = 0,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Show messages as they come, until Ctrl-C."""
    settings = _settings(configuration(config))
    try:
        pattern = TopicPattern.parse(topic)
    except ValueError as error:
        raise UsageError(f"{topic!r:.100} cannot be watched: {error}.") from error
    asyncio.run(_connected(settings, lambda connection: _watch(connection, pattern.filter, count, as_json)))


@app.command()
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What to publish, as it is.")],
    topic: Annotated[str, typer.Option("--topic", help="Where to.")],
    retain: Annotated[bool, typer.Option("--retain", help="Have the broker keep it for newcomers.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Publish a file; returns when the broker has it (QoS 1)."""
    settings = _settings(configuration(config))
    try:
        check_topic(topic)
    except ValueError as error:
        raise UsageError(f"Nothing can be published to {topic!r:.100}: {error}.") from error
    content = _content(file)
    asyncio.run(_connected(settings, lambda connection: connection.send(topic, content, retain=retain)))
    if as_json:
        show_json({"topic": topic, "bytes": len(content)})
    else:
        show(text(f"Published {plural(len(content), 'byte')} to {topic}."))


def _settings(config: Config) -> Mqtt:
    if config.mqtt.broker is None:
        raise UsageError("No broker is configured.", 'Set `broker` under [mqtt] in config.toml, as "embedded".')
    return config.mqtt


def _content(file: Path) -> bytes:
    try:
        if file.is_file() and file.stat().st_size > LARGEST:
            raise UsageError(f"{file} is larger than a message can be, {LARGEST} bytes.", "Use `sensorium submit`.")
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error


async def _connected(settings: Mqtt, use: Callable[[Connection], Awaitable[None]]) -> None:
    """Use one connection; its end is told as a sentence."""
    import aiomqtt  # with it half of a short command's start

    from host.mqtt.client import Connection, problem_of

    connection = Connection(settings, f"sensorium-cli-{os.getpid()}")
    try:
        async with connection:
            await use(connection)
    except (aiomqtt.MqttError, OSError) as error:
        raise problem_of(error, connection.address) from error


async def _watch(connection: Connection, topic: str, count: int, as_json: bool) -> None:
    await connection.listen(topic)
    shown = 0
    while True:
        for message in await connection.arrived():
            _show(message, as_json)
            message.acknowledge()
            shown += 1
            if shown == count:
                return


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
