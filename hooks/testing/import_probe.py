"""What importing a plugin costs, told by a fresh process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from hooks.testing.references import Reference, open_plugin

# What takes seconds or hundreds of megabytes; each is known under the name that is imported.
HEAVY = (
    "torch", "torchvision", "torchaudio", "tensorflow", "jax", "transformers", "accelerate", "diffusers", "open_clip",
    "timm", "onnxruntime", "llama_cpp", "faster_whisper", "ctranslate2", "whisper", "pyannote", "TTS", "cv2", "scipy",
    "sklearn", "skimage", "pandas", "matplotlib", "numba", "librosa", "av", "PIL", "numpy",
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """`seconds` of processor time and `memory_mb`, beside the seconds that Python and `hooks` took to be there."""

    seconds: float
    start_seconds: float
    memory_mb: float
    heavy: tuple[str, ...]
    threads: int
    printed: str


def measure(python: str, module: str, python_path: str, settings: dict[str, Any], patience: float) -> Cost | str:
    """What importing a plugin and asking it for its spec costs; the error's last line when it fails."""
    command = [python, "-c", f"from {__name__} import main; main()", module, json.dumps(settings)]
    environment = {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": python_path}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=patience, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return f"it is not imported within {patience:g} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"it ended the process with {done.returncode}"])[-1]
    found = json.loads(done.stdout.splitlines()[-1])
    return Cost(**{**found, "heavy": tuple(found["heavy"])})


def main() -> None:
    """Import, measure, print."""
    module, settings = sys.argv[1:]
    start_seconds = time.process_time()
    before, known, running = resident_mb(), set(sys.modules), threading.active_count()
    started = time.process_time()
    printed = io.StringIO()
    reference = Reference(module, module)
    with contextlib.redirect_stdout(printed):
        reference.opened()
        with contextlib.suppress(Exception):  # what is wrong beside the import is told elsewhere
            open_plugin(reference, json.loads(settings))
    seconds = time.process_time() - started
    new = {name.partition(".")[0] for name in set(sys.modules) - known}
    print(json.dumps({
        "seconds": seconds, "start_seconds": start_seconds, "memory_mb": resident_mb() - before,
        "heavy": sorted(new & set(HEAVY)), "threads": threading.active_count() - running,
        "printed": printed.getvalue()[:200],
    }))  # fmt: skip


def resident_mb(process: int | str = "self") -> float:
    """Memory of a process that is its own, in MB; 0 where the system does not tell."""
    with contextlib.suppress(OSError, ValueError), open(f"/proc/{process}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0
