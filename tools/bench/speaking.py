"""Texts as speech: the host's time beside bare loops, when the first of a long text is heard, and memory meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

from hooks.testing import WorkerClient, event_of
from tests.plugins.tts.random_voices import write_vits
from tools.bench.intake import users_environment, workplace
from tools.bench.long_recording import own_memory_mb
from tools.bench.report import Figure, Report, spread
from tools.spoken_world import GRAMMARS

REPEATS = 3
ESPEAK_TEXTS, COQUI_TEXTS = 500, 150
LONG, SHORT = 100_000, 1_000  # characters
CONFIG = """
[paths]
data = "data"
outbox = "outbox"
[[inbox]]
path = "inbox"
after = "keep"
[[route]]
plugin = "{plugin}"
kinds = ["text"]
[plugins.{plugin}]
{settings}
"""

# As nice as our workers are: on a machine that does other things, too, nothing else could be compared.
BARE_ESPEAK = """
import os; os.nice(19)
import sys
from pathlib import Path
from tools.spoken_world import Espeak, Voice, write_wav
espeak, voice, made = Espeak(), Voice("en-us", 175), 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    write_wav(Path(sys.argv[2], path.stem + ".wav"), espeak.say(path.read_text(), voice).samples)
    made += 1
print(made)
"""
BARE_COQUI = """
import os; os.nice(19)
import sys
from pathlib import Path
import torch
torch.set_num_threads(os.cpu_count())
from TTS.utils.synthesizer import Synthesizer
folder = Path(sys.argv[3])
voice = Synthesizer(tts_checkpoint=folder / "model.pth", tts_config_path=folder / "config.json")
made = 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    with torch.inference_mode():
        voice.save_wav(voice.tts(path.read_text()), str(Path(sys.argv[2], path.stem + ".wav")))
    made += 1
print("made", made)
"""


def write_texts(folder: Path, count: int, seed: int) -> None:
    """Notes of three sentences, each another one."""
    folder.mkdir(exist_ok=True)
    random = Random(f"speaking {seed}")
    for number in range(count):
        said = ". ".join(GRAMMARS["en"].sentence(random) for _ in range(3))
        (folder / f"{number:04}.txt").write_text(f"{said}.{' ' * (number % 7)}\nNumber {number}.")


def time_bare(folder: Path, script: str, count: int, *arguments: str) -> float:
    """Seconds of the whole process."""
    (folder / "bare").mkdir()
    command = [sys.executable, "-c", script, str(folder / "inbox"), str(folder / "bare"), *arguments]
    began = time.perf_counter()
    answer = subprocess.run(command, env=users_environment(), check=True, capture_output=True, text=True)
    took = time.perf_counter() - began
    if int(answer.stdout.split()[-1]) != count:
        raise RuntimeError(f"The bare loop spoke {answer.stdout!r} texts.")
    return took


def time_host(folder: Path, plugin: str, settings: str, count: int) -> tuple[float, int]:
    """Seconds of `sensorium run --once`, and how many texts have no recording."""
    (folder / "config.toml").write_text(CONFIG.format(plugin=plugin, settings=settings))
    command = [sys.executable, "-m", "host", "run", "--once", "--config", str(folder / "config.toml")]
    began = time.perf_counter()
    subprocess.run(command, env=users_environment(), check=True, capture_output=True)
    took = time.perf_counter() - began
    sidecars = [json.loads(path.read_text()) for path in (folder / "outbox").glob("*.json")]
    spoken = sum("speech" in [one["type"] for one in sidecar["results"]] for sidecar in sidecars)
    return took, count - min(spoken, len(list((folder / "outbox").glob("*.wav"))))


def compare(plugin: str, settings: str, count: int, script: str, *more: str) -> tuple[list[float], list[float], int]:
    """Seconds of the host and of the bare loop for each repeat; texts without a recording."""
    ours, bare, lost = [], [], 0
    for repeat in range(REPEATS):
        with workplace() as folder:
            write_texts(folder / "inbox", count, repeat)
            bare.append(time_bare(folder, script, count, *more))
            took, missing = time_host(folder, plugin, settings, count)
            ours.append(took)
            lost += missing
    return ours, bare, lost


def speak_long(folder: Path, characters: int) -> tuple[float, float]:
    """Seconds from the worker's start to the first audio of a text, and its megabytes at most."""
    path = folder / f"{characters}.txt"
    sentence = "This is a sentence of a long text, of which there are many. "
    path.write_text((sentence * (1 + characters // len(sentence)))[:characters])
    peak, first = 0.0, 0.0
    began = time.perf_counter()
    with WorkerClient.started(patience=600) as client:
        client.load("plugins.tts.espeak", {}, scratch=folder)
        client.send({"op": "run", "hook": "on_text", "events": [event_of(path).model_dump(mode="json")]})
        while (answer := client.receive()).op == "progress":
            first = first or time.perf_counter() - began
            peak = max(peak, own_memory_mb(client.process.pid))
        if answer.op != "result":
            raise RuntimeError(f"Nothing was spoken: {answer.body}")
    return first, peak


def speaking() -> Report:
    """The host's time a text with espeak-ng, its whole time over Coqui's alone, and a text of 100 kB."""
    ours, bare, lost = compare("espeak", 'language = "en"', ESPEAK_TEXTS, BARE_ESPEAK)
    each = sorted((a - b) / ESPEAK_TEXTS * 1000 for a, b in zip(ours, bare, strict=True))[REPEATS // 2]
    name = f"espeak-ng, {ESPEAK_TEXTS} texts: the host's time a text, median of pairs"
    figures = [Figure(name, spread(ours, digits=1), spread(bare, digits=1), each, 20, False, "ms")]
    with workplace() as folder:
        voice = write_vits(folder / "vits")
        settings = f'model = "{voice}"\nthreads = {os.cpu_count()}'
        ours, bare, missing = compare("coqui", settings, COQUI_TEXTS, BARE_COQUI, str(voice))
        ratio = sorted(a / b for a, b in zip(ours, bare, strict=True))[REPEATS // 2]
        name = f"Coqui VITS, {COQUI_TEXTS} texts, loading included, median of pairwise ratios"
        figures.append(Figure(name, spread(ours, digits=1), spread(bare, digits=1), ratio, 1.10, False))
        (_, short), (first, long) = speak_long(folder, SHORT), speak_long(folder, LONG)
    figures += [
        Figure("espeak-ng, 100 kB: first audio after the worker's start", f"{first:.2f} s", "", first, 1, False, "s"),
        Figure(
            "espeak-ng, 100 kB: memory over that for 1 kB",
            f"{long:.0f} MB",
            f"{short:.0f} MB",
            long / short,
            1.2,
            False,
        ),
    ]
    notes = [
        "Beside us: a loop that calls libespeak-ng, and one that calls coqui-tts, each writing WAV files. Ours also"
        " settles, hashes, journals, reads numbers, levels the loudness and writes sidecars.",
        "The VITS has random weights.",
    ]
    return Report("speaking", "Texts of three sentences as speech", lost + missing, 0, figures, notes)
