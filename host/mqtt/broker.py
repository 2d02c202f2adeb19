"""The embedded broker: amqtt in a process of its own, on this machine alone, for trying things out.

    starting → serving → ended (its port is taken, or it died) → (a pause) → starting …

Its limits, which `LIMITS` says to people: it speaks MQTT 3.1.1, lets everybody on this machine in, and keeps neither
messages nor sessions for clients that are away, so that what is under way when it or the host ends is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable
from typing import Any

from host.log import get_logger

HERE = "127.0.0.1"
PAUSE = 2.0  # seconds until it is started again
GOODBYE = 3.0
READY = b"ready\n"
LIMITS = (
    "The embedded broker is for trying things out: it keeps nothing for a host or a device that is away. "
    "Install mosquitto and set `broker` in [mqtt] to it where nothing may be lost."
)

log = get_logger(__name__)


class EmbeddedBroker:
    """The broker's process; `run` keeps it up until it is cancelled."""

    def __init__(self, port: int, on_state: Callable[[str], None] = lambda problem: None) -> None:
        self.port = port
        self._on_state = on_state

    async def run(self) -> None:
        """Serve; the process is gone when this has ended."""
        while True:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "host.mqtt.broker", str(self.port),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
            try:
                await self._served(process)
            finally:
                await _ended(process)
            await asyncio.sleep(PAUSE)

    async def _served(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        if await process.stdout.readline() == READY:
            log.info("embedded broker serves", port=self.port, note=LIMITS)
            self._on_state("")
        _, errors = await process.communicate()
        last = (errors.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        problem = f"The embedded broker on port {self.port} ended: {last[:300]}. It is started again by itself."
        log.warning("embedded broker ended", port=self.port, reason=last[:300])
        self._on_state(f"{problem} If another program has the port, set `embedded_port` in [mqtt].")


async def _ended(process: asyncio.subprocess.Process) -> None:
    """End it by its standard input, which is how it ends with a host that was killed, too."""
    if process.stdin is not None:
        process.stdin.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE):
            await process.wait()
            return
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()


# -- the child -------------------------------------------------------------------------------------------------------


def settings(port: int) -> dict[str, Any]:
    """The configuration of amqtt."""
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"{HERE}:{port}"}},
        "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
    }


async def serve(port: int) -> None:
    """Serve until standard input ends."""
    from amqtt.broker import Broker  # heavy, and in this process alone

    broker = Broker(settings(port))
    await broker.start()
    sys.stdout.buffer.write(READY)
    sys.stdout.buffer.flush()
    try:
        await asyncio.to_thread(sys.stdin.buffer.read)
    finally:
        await broker.shutdown()


def main() -> int:
    """The child's own main function: its last line of errors is what people read."""
    try:
        asyncio.run(serve(int(sys.argv[1])))
    except Exception as error:  # noqa: BLE001 - whatever the library raises is this process's end, in one line
        cause = error.__cause__ or error
        print(f"{type(error).__name__}: {cause}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
