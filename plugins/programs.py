"""Programs beside Python that plugins start."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from hooks import ModelUnavailable

OLDEST = (5, 1)  # which brought -fps_mode; newer ones do not know -vsync any more


@cache
def find_ffmpeg(chosen: Path | None) -> str:
    """The program: the chosen one, imageio-ffmpeg's, or the system's. Raises ModelUnavailable."""
    for candidate in (str(chosen),) if chosen else (_bundled(), shutil.which("ffmpeg")):
        if candidate and _version(candidate) >= OLDEST:
            return candidate
    raise ModelUnavailable(
        f"There is no ffmpeg of version {'.'.join(map(str, OLDEST))} or newer{f' at {chosen}' if chosen else ''}.",
        "Install one: pip install imageio-ffmpeg, or the package ffmpeg of your system.",
    )


def _bundled() -> str | None:
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


def _version(program: str) -> tuple[int, ...]:
    """As (9, 0), (0,) where it does not run; builds between two versions count as the newest."""
    try:
        said = subprocess.run([program, "-version"], capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return (0,)
    found = re.match(r"ffmpeg version n?(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (99,)
