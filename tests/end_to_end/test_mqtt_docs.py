"""The examples of docs/mqtt.md run: as they stand on the page, but for the broker's port and the plugin's name."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.mqtt_host import HOST, MqttPlace, device, recording, running
from tests.host.mqtt.test_docs import blocks
from tests.mosquitto import mosquitto


@pytest.fixture
def place(tmp_path: Path) -> Iterator[MqttPlace]:
    place = MqttPlace(tmp_path / "place")
    place.subscribe = ({"topic": "sensorium/in/{device}/#"},)
    place.measure()
    with mosquitto(tmp_path / "broker") as place.broker:
        yield place


def example(language: str, number: int, place: MqttPlace) -> str:
    """A block of the page for this broker, and for the plugin that there is here."""
    code = blocks(language)[number].replace("sensorium/request/clip", "sensorium/request/measure")
    code = code.replace("sensorium/response/clip", "sensorium/response/measure")
    code = code.replace('Client("localhost"', f'Client("127.0.0.1", {place.broker.port}')
    code = code.replace('connect("localhost"', f'connect("127.0.0.1", {place.broker.port}')
    return re.sub(r"(mosquitto_\w+)", rf"\1 -p {place.broker.port}", code)


async def test_the_request_in_python_is_answered(place, tmp_path):
    (tmp_path / "note.txt").write_text("hello")
    async with running(place):
        command = [sys.executable, "-c", example("python", 0, place), str(tmp_path / "note.txt")]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60)
    assert "'size': 5" in done.stdout, done.stderr


async def test_the_reader_in_python_prints_what_is_found(place):
    async with running(place):
        command = [sys.executable, "-u", "-c", example("python", 1, place)]
        reader = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert reader.stdout is not None
        async with device(place) as bell, asyncio.timeout(60):
            first = asyncio.ensure_future(reader.stdout.readline())
            number = 0
            while not first.done():  # until the reader has subscribed
                await bell.send("sensorium/in/porch/note", f"note {(number := number + 1)}")
                await asyncio.wait([first], timeout=0.5)
        reader.kill()
        await reader.wait()
    assert b"sensorium/in/porch/note measure" in first.result()


async def test_the_commands_of_the_shell_publish_ask_and_are_answered(place, tmp_path):
    """The answers are watched beside the shell's own subscribers: those may come too late on a slow machine."""
    (tmp_path / "cat.jpg").write_text("no picture, but a text that says something")
    code = example("sh", -1, place).replace("-W 10", "-W 100")
    async with running(place), recording(place) as watcher:
        await watcher.until(lambda: watcher.last(f"{HOST}/availability"))
        with (tmp_path / "said").open("w") as said:
            shell = await asyncio.create_subprocess_exec(
                "sh", "-ec", code, cwd=tmp_path, stdout=said, start_new_session=True
            )
        answers = ("shell/answer", "sensorium/response/measure")
        try:
            await watcher.until(lambda: len(watcher.bodies("results")) >= 2 and all(map(watcher.on, answers)), 120)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
            await shell.wait()
    assert watcher.origins() == {"sensorium/in/porch/front", "sensorium/in/porch/note"}
    assert '"plugin":"measure"' in (tmp_path / "said").read_text()  # mosquitto_rr showed its answer


def test_the_message_of_the_request_is_json():
    [message] = re.findall(r'-m "(\{.*\})"', blocks("sh")[-1])
    plain = message.replace('\\"', '"').replace("$(base64 -w0 cat.jpg)", "AAAA")
    assert json.loads(plain) == {"transaction": 1, "media": "AAAA"}
