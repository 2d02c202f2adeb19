"""A WAV file as MP3 or Opus, by ffmpeg."""

from __future__ import annotations

import subprocess
from pathlib import Path

from hooks import ModelUnavailable
from plugins.programs import find_ffmpeg
from plugins.tts.sound import NOTE

CODECS = {"mp3": ("libmp3lame", "-q:a", "4"), "opus": ("libopus", "-b:a", "40k")}
MEDIA_TYPES = {"wav": "audio/wav", "mp3": "audio/mpeg", "opus": "audio/ogg"}
LONGEST = 1800.0  # seconds for a file of four gigabytes


def encoded(wav: Path, kind: str, voice: str) -> Path:
    """The file in another format, in place of the WAV file. Raises ModelUnavailable where ffmpeg cannot do it."""
    target = wav.with_suffix(f".{kind}")
    codec, *quality = CODECS[kind]
    notes = ("-metadata", f"comment={NOTE}", "-metadata", f"artist={voice}", "-map_metadata", "-1")
    command = [
        find_ffmpeg(None), "-nostdin", "-hide_banner", "-v", "error", "-y", "-f", "wav", "-i", str(wav),
        *notes, "-c:a", codec, *quality, str(target),
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=LONGEST)
    except subprocess.SubprocessError as error:
        target.unlink(missing_ok=True)
        said = str(getattr(error, "stderr", "") or error).strip().splitlines()[-1:]
        raise ModelUnavailable(
            f"ffmpeg cannot write {kind}: {' '.join(said)}.", 'Take one that has it, or format = "wav".'
        ) from error
    wav.unlink()
    return target
