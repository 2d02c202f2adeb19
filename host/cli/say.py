"""`sensorium say`: a text as speech, in a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from host.cli.options import AsJson, ConfigFile, DataDir, configuration, file_query
from host.cli.output import near, show, show_json, text
from host.cli.service import ask
from host.cli.waiting import waiting
from host.errors import UsageError

STANDARD_INPUT = "-"
FORMATS = {".wav": "wav", ".mp3": "mp3", ".opus": "opus", ".ogg": "opus"}
LARGEST = 1_000_000  # characters; the host takes calls of 4 MB


def say(
    words: Annotated[
        list[str], typer.Argument(metavar="TEXT", help="What to say, also as SSML; - reads it from standard input.")
    ],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where it goes: .wav, or .mp3 and .opus, which need ffmpeg.")
    ] = Path("speech.wav"),
    plugin: Annotated[
        str | None, typer.Option("--plugin", metavar="NAME", help="Who speaks, as espeak, piper or coqui.")
    ] = None,
    voice: Annotated[str | None, typer.Option("--voice", help="A voice of that plugin, as en-gb or de+f3.")] = None,
    language: Annotated[
        str | None, typer.Option("--language", help="The language, as de; without it, told from the text.")
    ] = None,
    speed: Annotated[float | None, typer.Option("--speed", min=0.25, max=4, help="1 is the usual one.")] = None,
    pitch: Annotated[float | None, typer.Option("--pitch", min=-12, max=12, help="Semitones up or down.")] = None,
    emotion: Annotated[str | None, typer.Option("--emotion", help="Where the plugin's model has any.")] = None,
    config: ConfigFile = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Speak a text into a file; nothing of it is kept elsewhere."""
    spoken_text = _text(words)
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"{out} is of no format that can be written.", f"Name a file with {', '.join(FORMATS)}.")
    wishes: dict[str, Any] = {
        "voice": voice, "language": language, "speed": speed, "pitch": pitch, "emotion": emotion,
        "format": FORMATS[out.suffix.lower()],
    }  # fmt: skip
    meta = {name: value for name, value in wishes.items() if value is not None}
    target = file_query(str(out))
    with waiting("Speaking"):
        found = ask(
            configuration(config, data),
            lambda service: service.say(spoken_text, target, plugin, meta),
            writes=True,
            else_reads=True,
        )
    if as_json:
        show_json(found)
        return
    show(text((near(found.path), "bold"), f"  {found.duration:.1f} s, {found.voice} by {found.plugin}"))
    for problem in found.problems:
        show(text((problem, "yellow")))


def _text(words: list[str]) -> str:
    """What was typed, or what comes from standard input."""
    if words == [STANDARD_INPUT]:
        given = sys.stdin.buffer.read(4 * LARGEST + 1).decode("utf-8", "replace")
    else:
        given = os.fsencode(" ".join(words)).decode("utf-8", "replace")
    if len(given) > LARGEST:
        raise UsageError(
            f"That are more than {LARGEST:,} characters.", "Drop it as a file into the folder speak/ of an inbox."
        )
    return given
