"""(n) The memory of a worker that hears a recording of hours: it must not grow with what was heard."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from hooks import Audio
from hooks.testing.worker_client import CPU, WorkerClient
from tools.bench.films import run
from tools.bench.intake import workplace
from tools.bench.report import Figure, Report
from tools.spoken_world import Espeak, Speech, Take, Voice, write_wav

MINUTES = int(os.environ.get("SENSORIUM_BENCH_MINUTES", "30"))  # 180 for a recording of three hours
BLOCK = 5  # minutes that are repeated
EVERY = 15.0  # seconds of silence after each sentence
TEXTS = ("turn on the kitchen light", "what is the weather today", "open the garden door")
BOUND = 1.1
SETTLED = 0.15  # of the recording: by then every buffer has been in use


def long_recording() -> Report:
    """Memory at the end and in the middle over that near the start, by how much of the recording was heard."""
    with workplace() as folder:
        sentences, film = record(folder)
        seen, heard = listen(film, folder)
    start = max(memory for share, memory in seen if share <= SETTLED)
    middle = max(memory for share, memory in seen if 0.4 <= share <= 0.6)
    end = max(memory for share, memory in seen if share >= 1 - SETTLED)
    figures = [
        Figure(f"memory {when}, over that near the start", f"{mb:.0f} MB", f"{start:.0f} MB", mb / start, BOUND, False)
        for when, mb in (("in the middle", middle), ("at the end", end))
    ]
    title = f"A recording of {MINUTES} minutes through the bundled Whisper: memory of the worker alone"
    lost, doubled = max(0, sentences - heard), max(0, heard - sentences)
    note = f"{sentences} sentences, {len(seen)} looks; whole samples would be {MINUTES * 60 * 16_000 * 4 / 1e6:.0f} MB."
    return Report("long_recording", title, lost, doubled, figures, [note])


def record(folder: Path) -> tuple[int, Path]:
    """Write the recording; how many sentences are in it."""
    espeak, voice = Espeak(), Voice("en-us+m5", 150)
    parts: list[Speech | float] = []
    while Take.of(parts).seconds < 60 * BLOCK - EVERY - 5:
        parts += [espeak.say(TEXTS[len(parts) // 2 % len(TEXTS)], voice), EVERY]
    block = Take.of(parts)
    rounds = max(1, round(MINUTES * 60 / block.seconds))
    write_wav(folder / "block.wav", block.samples)
    run("-stream_loop", str(rounds - 1), "-i", folder / "block.wav", folder / "long.flac")
    return rounds * len(block.said), folder / "long.flac"


def listen(path: Path, folder: Path) -> tuple[list[tuple[float, float]], int]:
    """The worker's megabytes by the share that was heard; how many segments there are in the end."""
    event = Audio(
        id="long", media_type="audio/flac", sha256="0" * 64, size=path.stat().st_size, path=path, name=path.name,
        source="bench", origin=path.name, created=datetime.now(UTC),
    )  # fmt: skip
    seen: list[tuple[float, float]] = []
    with WorkerClient.started(patience=600) as client:
        client.load("plugins.audio.whisper", {}, CPU, folder / "scratch")
        client.send({"op": "run", "hook": "on_audio", "events": [event.model_dump(mode="json")]})
        while (answer := client.receive()).op == "progress":
            seen.append((answer.body["fraction"], own_memory_mb(client.process.pid)))
        seen.append((1.0, own_memory_mb(client.process.pid)))
        return seen, len(answer.body["data"]["segments"])


def own_memory_mb(pid: int) -> float:
    """Megabytes that a process took for itself; without files that are mapped, of which others may hold a share."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024 / 1e6
