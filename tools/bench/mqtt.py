"""Messages a second, each durable before it is acknowledged: beside consumers that store each by itself, or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from host.app import open_app
from host.config import Config
from tests.mosquitto import Mosquitto, mosquitto
from tools.bench.intake import workplace
from tools.bench.loop_lag import p99, sample
from tools.bench.report import Figure, Report, spread
from tools.bench.slow_disk import flush_seconds, slow_environment

SMALL, LARGE = 200, 64 * 1024
MESSAGES = {SMALL: 20_000, LARGE: 1_500}
COMMITTED_EACH = 1_000  # messages for the slow peer, whose rate does not depend on their number
FLUSH = 0.004  # seconds
REPEATS = 3

# Publishes over a bare socket, so that the publisher is not what is measured: QoS 1, up to 1000 under way (MQTT 3.1.1).
PUBLISHER = """
import os, socket, struct, sys, threading
port, count, size, seed = map(int, sys.argv[1:])
def string(text): return struct.pack(">H", len(text)) + text
def packet(kind, body):
    length, head = len(body), bytearray([kind])
    while True:
        length, digit = divmod(length, 128)
        head.append(digit | (128 if length else 0))
        if not length: return bytes(head) + body
sock = socket.create_connection(("127.0.0.1", port))
sock.sendall(packet(0x10, string(b"MQTT") + bytes([4, 2, 0, 0]) + string(b"publisher%d" % seed)))
assert sock.recv(4)[3] == 0
slots = threading.Semaphore(1000)
def answers():
    got = 0
    while got < 4 * count:
        read = len(sock.recv(65536))
        if not read: os._exit(1)
        for _ in range((got + read) // 4 - got // 4): slots.release()
        got += read
reader = threading.Thread(target=answers)
reader.start()
for number in range(count):
    slots.acquire()
    text = b"\\x89PNG\\r\\n\\x1a\\nmessage %d of %d " % (number, seed)
    body = string(b"bench/sensor") + struct.pack(">H", number % 65535 + 1) + text.ljust(size, b"x")
    sock.sendall(packet(0x32, body))
reader.join()
"""


def publish(broker: Mosquitto, count: int, size: int, seed: int) -> subprocess.Popen[bytes]:
    """A process that publishes, and ends when the broker has everything."""
    return subprocess.Popen([sys.executable, "-c", PUBLISHER, *map(str, (broker.port, count, size, seed))])


# aiomqtt as its documentation shows it: storing nothing, or committing each message by itself.
CONSUMER = """
import asyncio, json, sys, time, aiomqtt, aiosqlite
async def main(port, count, path):
    async with aiosqlite.connect(path or ":memory:", isolation_level=None) as rows:
        await rows.execute("PRAGMA journal_mode = WAL")
        await rows.execute("PRAGMA synchronous = FULL")
        await rows.execute("CREATE TABLE taken (payload BLOB)")
        async with aiomqtt.Client("127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5) as client:
            await client.subscribe("bench/#", qos=1)
            print("ready", flush=True)
            taken, began = 0, 0
            async for message in client.messages:
                began = began or time.perf_counter()
                if path:
                    await rows.execute("INSERT INTO taken VALUES (?)", (message.payload,))
                taken += 1
                if taken == count:
                    break
    print(time.perf_counter() - began, flush=True)
asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
"""


Environment = dict[str, str] | None


def measure_plain(
    broker: Mosquitto, count: int, size: int, seed: int, database: str = "", environment: Environment = None
) -> float:
    """Messages a second of a consumer of its own process."""
    command = [sys.executable, "-c", CONSUMER, str(broker.port), str(count), database]
    consumer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert consumer.stdout is not None
    if consumer.stdout.readline().strip() != "ready":
        raise RuntimeError("The plain consumer did not come up.")
    publisher = publish(broker, count, size, seed)
    took = float(consumer.stdout.readline())
    if consumer.wait() or publisher.wait():
        raise RuntimeError("The plain consumer or its publisher failed.")
    return count / took


OURS = "import asyncio, sys; from tools.bench.mqtt import host_process; asyncio.run(host_process(*sys.argv[1:]))"


# A loop that has nothing to do, as late as this machine makes it; until its standard input ends.
IDLE_LOOP = """
import asyncio, sys, threading
from tools.bench.loop_lag import p99, sample
lags, end = [], threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), end.set())).start()
asyncio.run(sample(lags, end))
print(p99(lags))
"""


@contextlib.contextmanager
def idle_loop(lags: list[float]) -> Iterator[None]:
    """Beside what runs in the block, a process whose loop does nothing; notes its lag in ms (p99)."""
    command = [sys.executable, "-c", IDLE_LOOP]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield
        lags.append(float(process.communicate()[0]))


def measure_ours(
    broker: Mosquitto, folder: Path, count: int, size: int, seed: int, environment: Environment = None
) -> tuple[float, int, int, float]:
    """Messages a second from the first one's arrival to the last commit; lost, doubled; lag of the loop in ms (p99)."""
    command = [sys.executable, "-c", OURS, broker.url, str(folder), str(count)]
    consumer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert consumer.stdout is not None
    while (line := consumer.stdout.readline().strip()) != "ready":
        if not line and consumer.poll() is not None:
            raise RuntimeError("The host did not come up.")
    publisher = publish(broker, count, size, seed)
    took, arrivals, lag = json.loads(consumer.stdout.readline())
    if consumer.wait() or publisher.wait():
        raise RuntimeError("The host or its publisher failed.")
    return count / took, max(0, count - arrivals), max(0, arrivals - count), lag


async def host_process(url: str, folder: str, wanted: str) -> None:
    """A host in a process of its own; says `ready`, then what it measured as JSON.

    Jobs are queued, and not worked off.
    """
    root, count = Path(folder), int(wanted)
    config = Config.model_validate(
        {
            "paths": {"data": root / "data", "outbox": root / "outbox"},
            "inbox": [{"path": root / "inbox"}],
            "plugins": {"clip": {"enabled": False}},
            "mqtt": {"broker": url, "subscribe": [{"topic": "bench/{device}"}]},
        }
    )
    lags: list[float] = []
    async with open_app(config) as app:
        app.leases.pause(True)
        source = app.mqtt
        assert source is not None
        running = asyncio.create_task(app.run())
        await source.idle.wait()
        while source.alarm:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        while source.idle.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.0005)
        began = time.perf_counter()
        sampler = asyncio.create_task(sample(lags))
        while source.taken < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        took = time.perf_counter() - began
        sampler.cancel()
        row = await app.journal.row("counts")
        app.stop()
        await running
    print(json.dumps([took, row["arrivals"] if row else 0, p99(lags)]), flush=True)


def mqtt_intake() -> Report:
    """Both sizes: ours beside a loop that stores nothing, and beside one that commits each message."""
    report = Report("mqtt_intake", "QoS 1 messages from mosquitto, each in library and journal before its PUBACK", 0, 0)
    with workplace() as folder, mosquitto(folder / "broker") as broker:
        for size in (SMALL, LARGE):
            _compare(report, broker, folder, size)
        _compare_commits(report, broker, folder)
    report.notes.append(
        "Beside us: `async for message in client.messages` of aiomqtt that stores nothing (and acknowledges before it "
        f"could have), and one that commits each message by itself ({COMMITTED_EACH} messages); beside the lag, the "
        "worst one judged, that of a loop that does nothing, in a process of its own at the same time. Jobs are queued "
        "and not worked off."
    )
    return report


def _compare(report: Report, broker: Mosquitto, folder: Path, size: int) -> None:
    count = MESSAGES[size]
    ours, plain = [], []
    lags: list[float] = []
    idle: list[float] = []
    for seed in range(REPEATS):
        plain.append(measure_plain(broker, count, size, seed))
        with idle_loop(idle):
            rate, lost, twice, lag = measure_ours(broker, folder / f"{size}-{seed}", count, size, seed + 100)
        ours.append(rate)
        lags.append(lag)
        report.lost = (report.lost or 0) + lost
        report.duplicated = (report.duplicated or 0) + twice
    ratio = sorted(a / b for a, b in zip(ours, plain, strict=True))[REPEATS // 2]
    bound = 0.4 if size == SMALL else 0.3
    what = f"{size:,} bytes, beside a loop that stores nothing"
    report.figures.append(Figure(what, spread(ours, "/s", 0), spread(plain, "/s", 0), ratio, bound, True))
    what, lag = f"{size:,} bytes, p99 of the loop's lag", max(lags)
    beside = spread(idle, "ms", 1)
    report.figures.append(Figure(what, spread(lags, "ms", 1), beside, lag, 20, False, "ms"))


def _compare_commits(report: Report, broker: Mosquitto, folder: Path) -> None:
    """Both on a disk whose flush takes 4 ms, as many have; this one's may be faster, and then commits are cheap."""
    slow = slow_environment(folder, max(0.0, FLUSH - flush_seconds(folder)))
    each = measure_plain(broker, COMMITTED_EACH, SMALL, 99, str(folder / "each.db"), slow)
    rate, lost, twice, _ = measure_ours(broker, folder / "slow", MESSAGES[SMALL], SMALL, 98, slow)
    report.lost, report.duplicated = (report.lost or 0) + lost, (report.duplicated or 0) + twice
    what = f"{SMALL} bytes, beside a commit for each, a flush taking {FLUSH * 1000:.0f} ms"
    report.figures.append(Figure(what, f"{rate:.0f}/s", f"{each:.0f}/s", rate / each, 10, True))
