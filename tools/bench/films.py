"""(k) Taking a film apart beside the best bare ffmpeg command for the same pictures and sound."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from hooks import Video
from plugins.programs import find_ffmpeg
from tests.worker_client import CPU, WorkerClient
from tools.bench.intake import workplace
from tools.bench.report import Figure, Report, spread

MINUTES = 10
REPEATS = 5
EVERY = 2
PICTURES = 60 * MINUTES // EVERY
BOUND = 1.15
SOURCE = "testsrc2=size=1280x720:rate=25:duration=60,noise=alls=8:allf=t"
PICK = f"select='isnan(prev_selected_t)+gt(floor(t/{EVERY})\\,floor(prev_selected_t/{EVERY}))'"
# The ways to the same pictures; the one that takes the least of the processor is the one that counts.
WAYS = {
    "key frames": (("-skip_frame:v", "nokey"), ("-skip_frame:v", "nokey", "-discard:v", "nokey"), ()),
    "all frames": ((), ("-threads", "1")),
}


def films() -> Report:
    """Ours over the fastest bare command, for a film whose key frames are enough and for one where they are not."""
    figures, lost = [], 0
    with workplace() as folder:
        for kind, key_frame_every in (("key frames", 25 * EVERY), ("all frames", 250)):
            film = make_film(folder, key_frame_every)
            best = fastest(film, folder, WAYS[kind])
            wall, processor, missing = compare(film, folder, best)
            lost += missing
            figures += [_figure(f"{kind}: time", *wall), _figure(f"{kind}: processor", *processor)]
    title = f"A film of {MINUTES} minutes, 720p: {PICTURES} pictures and the sound, beside bare ffmpeg"
    notes = [
        "Beside us: the cheapest of the bare commands for the same pictures, key frames where they are enough, of the "
        "same program and as nice as our workers. Ours also reads the headers, tells equal pictures and hands over.",
    ]
    return Report("films", title, max(0, lost), max(0, -lost), figures, notes)


def make_film(folder: Path, key_frame_every: int) -> Path:
    """A minute with noise, as cameras have it, ten times over."""
    minute, film = folder / "minute.mp4", folder / f"film-{key_frame_every}.mp4"
    keys = ("-g", str(key_frame_every), "-keyint_min", str(key_frame_every), "-sc_threshold", "0")
    h264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "26", "-pix_fmt", "yuv420p")
    run("-f", "lavfi", "-i", SOURCE, *h264, *keys, minute)
    sound = ("-f", "lavfi", "-i", f"sine=frequency=300:duration={60 * MINUTES}:sample_rate=44100")
    run("-stream_loop", str(MINUTES - 1), "-i", minute, *sound, "-c:v", "copy", "-c:a", "aac", film)
    return film


def run(*arguments: str | Path) -> None:
    """Let ffmpeg do something, as nice as our workers are."""
    command = [find_ffmpeg(None), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, preexec_fn=lambda: os.nice(19 - os.nice(0)), stderr=subprocess.DEVNULL)


def bare(film: Path, folder: Path, options: tuple[str, ...]) -> None:
    """The bare command: one reading, pictures and sound."""
    with cleared(folder / "bare") as out:
        run(*options, "-i", film, "-map", "0:v:0", "-vf", PICK, "-fps_mode", "vfr", "-q:v", "3", out / "%06d.jpg",
            "-map", "0:a:0", "-ac", "1", "-ar", "16000", out / "sound.flac")  # fmt: skip
        if len(list(out.glob("*.jpg"))) != PICTURES:
            raise RuntimeError(f"The bare command made {len(list(out.glob('*.jpg')))} pictures.")


def fastest(film: Path, folder: Path, ways: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """The options with which the bare command takes the least of the processor."""
    return min(ways, key=lambda options: measured(lambda: bare(film, folder, options))[1])


def compare(film: Path, folder: Path, best: tuple[str, ...]) -> tuple[list, list, int]:
    """Seconds and processor seconds of ours and of the bare command, in turn; and how many pictures were missing."""
    ours, theirs, missing = [], [], 0
    event = Video(
        id="film", media_type="video/mp4", sha256="0" * 64, size=film.stat().st_size, path=film, name=film.name,
        source="bench", origin=film.name, created=datetime.now(UTC),
    )  # fmt: skip
    with WorkerClient.started() as client:
        device = CPU.model_copy(update={"threads": os.cpu_count() or 1})
        client.load("plugins.vision.video", {"every": EVERY, "same": 0}, device, folder / "scratch")
        for _ in range(REPEATS):
            theirs.append(measured(lambda: bare(film, folder, best)))
            before, began = children_and(client.process.pid), time.perf_counter()
            answers = client.run([event], "on_video")
            ours.append((time.perf_counter() - began, children_and(client.process.pid) - before))
            made = [one.body for one in answers if one.op == "derived"]
            missing += PICTURES + 1 - len(made)
    (our_wall, our_processor), (their_wall, their_processor) = zip(*ours, strict=True), zip(*theirs, strict=True)
    return [our_wall, their_wall], [our_processor, their_processor], missing


def measured(work) -> tuple[float, float]:
    """Seconds, and seconds of the processor in children, that a piece of work takes."""
    used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return time.perf_counter() - began, took


def children_and(pid: int) -> float:
    """Processor seconds of a process and of the children that it has waited for (proc(5), fields 14 to 17)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def cleared(folder: Path) -> Iterator[Path]:
    """A new, empty folder, gone afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


def _figure(what: str, ours: list[float], theirs: list[float]) -> Figure:
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return Figure(f"{what}, median of pairwise ratios", spread(ours), spread(theirs), ratio, BOUND, False)
