"""One run of ffmpeg that takes everything out of a film, in a folder of its own and within limits.

film (a link in the folder) → picked pictures ─┬─ frame-000001.jpg …, and their moments (moments.txt)
                                               └─ small copies, by which equal ones are told (small.rgb)
                            → sound.flac, subtitles-0.srt …
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from hooks import BadInput, Context, Event
from hooks.worker import die_with_parent
from plugins.vision.film import FORMATS, NEAR, Film
from plugins.vision.hashes import bits_of
from plugins.vision.video import VideoSettings, readable

SMALL = 32
QUALITY = 3  # of JPEG, from 2 (best) to 31
RATE = 16_000
LONGEST_SHOT = 60.0  # seconds without a change of scene after which there is a picture all the same
SAME_COLOUR = 8.0  # of 255, mean over all channels: more is another picture, whatever its outlines are
NOISE = 2.0  # less is the same picture, even where it has no outlines that could be compared
KEPT = 24 * 3600.0
CUT_OFF = 2.0  # seconds that may be missing at the end before it is told
MB = 1024 * 1024
ADDRESS_SPACE = 8192 * MB
FILE_SIZE = 8192 * MB


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the film: its file, its moment in seconds, and a copy of 32 x 32 pixels, RGB."""

    path: Path
    moment: float
    small: np.ndarray


@dataclass(frozen=True, slots=True)
class Taken:
    """What came out of a film; `problems` are for people."""

    pictures: Sequence[Picture]
    sound: Path | None
    subtitles: list[tuple[Path, str]]
    problems: tuple[str, ...] = ()


class Extractor:
    """Runs ffmpeg; `program` is its path."""

    def __init__(self, program: str, threads: int) -> None:
        self._program = program
        self._threads = threads

    def extract(self, event: Event, film: Film, settings: VideoSettings, context: Context) -> Taken:
        """Take pictures, sound and subtitles out of a film, into a folder of the scratch folder; raises BadInput."""
        folder = context.scratch / event.id
        shutil.rmtree(folder, ignore_errors=True)  # what a crash left there
        _sweep(context.scratch)
        folder.mkdir(parents=True)
        staged = folder / "film"
        staged.symlink_to(event.path.absolute())  # names that the film speaks of would be looked for here
        command = self.command(staged, film, settings)
        said, reached = self._run(command, folder, settings, lambda done: _report(context, event, film, done))
        taken = _taken(folder, film, settings, _problems(film, said, reached))
        _leave_only(folder, taken)
        if not taken.pictures and taken.sound is None:
            raise BadInput(
                f"Nothing of it can be decoded: {said or 'there is no whole picture and no sound in it'}.",
                "The file is damaged or incomplete: send a good copy.",
            )
        return taken

    def command(self, path: Path, film: Film, settings: VideoSettings) -> list[str]:
        """The whole command line."""
        key_frames = settings.scenes is None and film.is_told_by_key_frames(settings.every)
        source = ffmpeg.input(str(path), **self._reading(film, settings, key_frames=key_frames))
        outputs = []
        if film.picture is not None:
            lead = NEAR * settings.every if key_frames else 0.001
            picked = _picked(source[str(film.picture)], settings, lead).split()
            small = picked[1].filter("scale", SMALL, SMALL, flags="area").filter("format", "rgb24")
            quality = {"q:v": QUALITY}
            outputs = [
                ffmpeg.output(picked[0], "frame-%06d.jpg", fps_mode="vfr", **quality),
                ffmpeg.output(small, "small.rgb", format="rawvideo", fps_mode="vfr"),
            ]
        if film.sound is not None and settings.sound:
            sound = source[str(film.sound)]
            as_one = {"af": "aresample=async=1:first_pts=0"}  # silence where there is none: its moments are the film's
            outputs.append(ffmpeg.output(sound, "sound.flac", ac=1, ar=RATE, acodec="flac", **as_one))
        if settings.subtitles:
            for number, one in enumerate(film.subtitles):
                track = source[str(one.index)]
                outputs.append(ffmpeg.output(track, f"subtitles-{number}.srt", scodec="srt"))
        if not outputs:
            raise BadInput("There is no picture in it, and the sound is not wanted.", "Set sound = true to hear it.")
        whole = ffmpeg.merge_outputs(*outputs).global_args("-nostdin", "-hide_banner", "-progress", "pipe:1")
        command: list[str] = whole.overwrite_output().compile(cmd=[self._program, "-loglevel", "error"])
        return command

    def _reading(self, film: Film, settings: VideoSettings, *, key_frames: bool) -> dict[str, Any]:
        options: dict[str, Any] = {
            "format_whitelist": FORMATS,
            "protocol_whitelist": "file",
            "t": settings.max_hours * 3600,
            "threads": self._threads,
        }
        if film.picture is not None:
            options["max_pixels"] = round(settings.max_megapixels * 1e6)
        return options | ({"skip_frame:v": "nokey", "discard:v": "nokey"} if key_frames else {})

    def _run(
        self, command: Sequence[str], folder: Path, settings: VideoSettings, report: Callable[[float], None]
    ) -> tuple[str, float]:
        """What ffmpeg complained of last, and how far it came in seconds."""
        limits = _limits(round(60 * settings.cpu_minutes))
        with (folder / "said.txt").open("w+b") as said:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, preexec_fn=limits
            )
            try:
                reached = _follow(process.stdout or (), report)
            finally:
                process.kill()
                code = process.wait()
            said.seek(0)
            last = readable(said.read()[-2000:].decode("utf-8", "replace").strip().rpartition("\n")[2])
        if code < 0:
            raise BadInput(
                f"It took more than {settings.cpu_minutes:g} minutes of the processor, or more memory than it may.",
                "Cut it, or raise cpu_minutes in this plugin's settings.",
            )
        return last, reached


def _picked(stream: Any, settings: VideoSettings, lead: float) -> Any:
    """The pictures that are wanted, in their size; their moments are written down on the way."""
    every, side = settings.every, settings.picture_side
    if settings.scenes is not None:
        wanted = f"isnan(prev_selected_t)+gt(scene,{settings.scenes})+gte(t-prev_selected_t,{LONGEST_SHOT})"
    else:
        wanted = f"isnan(prev_selected_t)+gt(floor((t+{lead})/{every}),floor((prev_selected_t+{lead})/{every}))"
    share = f"min(1,{side}/max(iw*sar,ih))"
    size = {"w": f"max(2,trunc(iw*sar*{share}/2)*2)", "h": f"max(2,trunc(ih*{share}/2)*2)"}
    picked = stream.filter("select", wanted).filter("scale", **size).filter("setsar", 1)
    marked = picked.filter("metadata", mode="add", key="picked", value=1)  # it prints nothing of what has no metadata
    return marked.filter("metadata", mode="print", key="picked", file="moments.txt")


def _follow(lines: Iterable[bytes], report: Callable[[float], None]) -> float:
    reached = 0.0
    for line in lines:
        name, _, value = line.decode("ascii", "replace").strip().partition("=")
        if name == "out_time_us" and value.isdigit():
            reached = int(value) / 1e6
            report(reached)
    return reached


def _report(context: Context, event: Event, film: Film, done: float) -> None:
    if film.seconds:
        context.progress(event, min(1.0, done / film.seconds), f"{done:.0f} of {film.seconds:.0f} s")


def _problems(film: Film, said: str, reached: float) -> tuple[str, ...]:
    if film.seconds and reached < film.seconds - CUT_OFF - 0.05 * film.seconds:
        return (f"It ends after {reached:.1f} of {film.seconds:.1f} s: the file is cut off or damaged.",)
    return (f"Parts of it are damaged ({said}).",) if said else ()


def _taken(folder: Path, film: Film, settings: VideoSettings, problems: tuple[str, ...]) -> Taken:
    sound = folder / "sound.flac"
    subtitles = [(folder / f"subtitles-{number}.srt", one.language) for number, one in enumerate(film.subtitles)]
    return Taken(
        pictures=distinct(_pictures(folder), settings.same),
        sound=sound if _has_content(sound) and _has_samples(sound) else None,
        subtitles=[(path, language) for path, language in subtitles if _has_content(path)],
        problems=problems,
    )


def _leave_only(folder: Path, taken: Taken) -> None:
    """Remove what nobody will ask for: the host removes what it takes."""
    wanted = {picture.path for picture in taken.pictures} | {taken.sound} | {path for path, _ in taken.subtitles}
    for path in folder.iterdir():
        if path not in wanted:
            path.unlink()


def _sweep(scratch: Path) -> None:
    """Remove folders of earlier films: those that the host has emptied, and those that a crash left a day ago."""
    for folder in scratch.glob("*/"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > KEPT:
                shutil.rmtree(folder)
            else:
                folder.rmdir()


def _pictures(folder: Path) -> list[Picture]:
    try:
        told = (folder / "moments.txt").read_text()
    except FileNotFoundError:
        return []
    moments = [max(0.0, float(moment)) for moment in re.findall(r"pts_time:(-?[\d.]+)", told)]
    raw = (folder / "small.rgb").read_bytes()
    whole = len(raw) // (3 * SMALL * SMALL)
    small = np.frombuffer(raw, np.uint8, whole * 3 * SMALL * SMALL).reshape(-1, SMALL, SMALL, 3)
    files = sorted(folder.glob("frame-*.jpg"))
    # A run that was ended may have written one of them more than another.
    return [Picture(*one) for one in zip(files, moments, small, strict=False) if _has_content(one[0])]


def distinct(pictures: Sequence[Picture], bits: int) -> list[Picture]:
    """The pictures but for those that look as the last one that was kept: by outlines (perceptual hash) and colours."""
    kept: list[Picture] = []
    last = None
    for picture in pictures:
        hashed = bits_of(picture.small.astype(np.float64) @ (0.299, 0.587, 0.114))
        if last is not None and _look_alike(kept[-1].small, last, picture.small, hashed, bits):
            continue
        kept.append(picture)
        last = hashed
    return kept


def _look_alike(one: np.ndarray, its_bits: np.ndarray, other: np.ndarray, bits: np.ndarray, limit: int) -> bool:
    colour = float(np.abs(one.astype(np.int16) - other).mean())
    return colour < SAME_COLOUR and (colour < NOISE or int((its_bits != bits).sum()) <= limit)


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def _has_samples(flac: Path) -> bool:
    """Whether there is more in it than a header: a sound track may be empty."""
    with flac.open("rb") as file:
        head = file.read(26)
    return len(head) == 26 and int.from_bytes(head[21:26], "big") & 0xFFFFFFFFF > 0


def _limits(seconds: int) -> Callable[[], None]:
    worker = os.getpid()

    def limit() -> None:
        die_with_parent(worker)
        for kind, most in (
            (resource.RLIMIT_CPU, seconds),
            (resource.RLIMIT_AS, ADDRESS_SPACE),
            (resource.RLIMIT_FSIZE, FILE_SIZE),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(kind, (most, most))

    return limit
