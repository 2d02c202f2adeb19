"""The embedded broker: amqtt in a process of its own, on this machine alone, for trying things out.

    starting → serving → ended (it died, or somebody was faster at its port) → (a pause) → starting …

It takes the port that is wished for, or the next free one: two hosts, or a broker that is there already, are no reason
to fail. `address` says where it is; `sensorium status` shows it.
Its limits, which `LIMITS` says to people: it speaks MQTT 3.1.1, lets everybody on this machine in, and keeps neither
messages nor sessions for clients that are away, so that what is under way when it or the host ends is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import Any

from host.config import Address
from host.log import get_logger

HERE = "127.0.0.1"
NEIGHBOURS = 100  # ports that are tried after the one that is wished for
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds until it is started again
GOODBYE = 3.0
READY = b"ready\n"
LAST_WORDS = 4096  # bytes of what it printed that are kept
LIMITS = (
    "The embedded broker is for trying things out: it keeps nothing for a host or a device that is away, and lets "
    "everybody on this machine in. Install mosquitto and set `broker` in [mqtt] to it where nothing may be lost."
)

log = get_logger(__name__)


class EmbeddedBroker:
    """The broker's process; `run` keeps it up until it is cancelled.

    `served` is set once it has served; `problem` says why it does not now.
    """

    def __init__(self, wished: int) -> None:
        self._wished = wished
        self._port = free_port(wished)
        self.problem = ""
        self.served = asyncio.Event()

    @property
    def address(self) -> Address:
        """Where it serves, or will."""
        return Address(HERE, self._port)

    async def run(self) -> None:
        """Serve; the process is gone when this has ended."""
        pause = FIRST_PAUSE
        while True:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "host.mqtt.broker", str(self._port),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                process_group=0,  # Ctrl-C is the host's alone, which has last things to say to it
            )  # fmt: skip
            try:
                pause = FIRST_PAUSE if await self._served(process) else min(2 * pause, LONGEST_PAUSE)
            finally:
                await _ended(process)
            await asyncio.sleep(pause)
            self._port = free_port(self._port)

    async def _served(self, process: asyncio.subprocess.Process) -> bool:
        """Wait until it ends; whether it served before."""
        assert process.stdout is not None
        assert process.stderr is not None
        served = await process.stdout.readline() == READY
        if served:
            taken = "" if self._port == self._wished else f" Port {self._wished} is taken."
            log.info("embedded broker serves", address=str(self.address), note=f"{LIMITS}{taken}")
            self.problem = ""
            self.served.set()
        last = b""
        while chunk := await process.stderr.read(LAST_WORDS):
            last = (last + chunk)[-LAST_WORDS:]
        reason = (last.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1][:300]
        self.problem = f"The embedded broker on {self.address} ended: {reason}. It is started again by itself."
        log.warning("embedded broker ended", address=str(self.address), reason=reason)
        return served


def free_port(wished: int) -> int:
    """The first port of this machine that nobody listens on, from the one that is wished for on."""
    for port in (*range(wished, min(wished + NEIGHBOURS, 65_536)), 0):
        with contextlib.suppress(OSError), socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind((HERE, port))
            return int(one.getsockname()[1])
    return wished


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
