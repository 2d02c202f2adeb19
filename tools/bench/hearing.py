"""The whole host beside a bare faster-whisper loop: the same recordings, model and options, loading included."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import whisper_spec
from tokenizers import Tokenizer

from tools.bench.intake import users_environment, workplace
from tools.bench.report import Figure, Report, spread
from tools.spoken_world import GRAMMARS, Espeak, Speech, Take, random_voice, write_wav
from tools.train_whisper.__main__ import VOCABULARY_FILE
from tools.train_whisper.model import EOT, SPACE, VOCABULARY, sinusoids

RECORDINGS, SENTENCES, REPEATS = 50, 4, 3
BUNDLED = VOCABULARY_FILE.parent
LAYERS, WIDTH, HEADS, MELS = 6, 512, 8, 80  # of Whisper base

# As nice as our workers are: on a machine that does other things, too, nothing else could be compared.
BARE = """
import os; os.nice(19)
import sys
from pathlib import Path
from faster_whisper import WhisperModel
model = WhisperModel(sys.argv[2], device="cpu", compute_type="int8", cpu_threads=int(sys.argv[3]))
files = sorted(Path(sys.argv[1]).iterdir())
for path in files:
    segments, _ = model.transcribe(
        str(path), vad_filter=True, beam_size=int(sys.argv[4]), temperature=0.0, condition_on_previous_text=False
    )
    list(segments)
print(len(files))
"""

CONFIG = """
[paths]
data = "data"
outbox = "outbox"
[[inbox]]
path = "inbox"
after = "keep"
[plugins.whisper]
model = "{model}/"
batch = 1
together = 30.0
beam = {beam}
temperatures = [0.0]
"""


def record(folder: Path, seed: int) -> None:
    """Write recordings of some sentences with pauses between them."""
    rng, espeak = random.Random(f"hearing {seed}"), Espeak()
    for number in range(RECORDINGS):
        voice = random_voice(rng, "en", trained=False)
        parts: list[Speech | float] = [0.3]
        for _ in range(SENTENCES):
            parts += [espeak.say(GRAMMARS["en"].sentence(rng), voice), rng.uniform(0.6, 1.3)]
        write_wav(folder / f"{number:02}.wav", Take.of(parts).samples)


def time_bare(inbox: Path, model: Path, beam: int) -> float:
    """Seconds of the whole process."""
    cores = str(os.cpu_count())
    environment = users_environment(OMP_NUM_THREADS=cores, OPENBLAS_NUM_THREADS=cores)
    command = [sys.executable, "-c", BARE, str(inbox), str(model), cores, str(beam)]
    began = time.perf_counter()
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    took = time.perf_counter() - began
    if int(answer.stdout.split()[-1]) != RECORDINGS:
        raise RuntimeError(f"The bare loop heard {answer.stdout!r} recordings.")
    return took


def time_host(folder: Path, model: Path, beam: int) -> tuple[float, int]:
    """Seconds of `sensorium run --once`, and how many recordings are without a transcript."""
    (folder / "config.toml").write_text(CONFIG.format(model=model, beam=beam))
    command = [sys.executable, "-m", "host", "run", "--once", "--config", str(folder / "config.toml")]
    began = time.perf_counter()
    subprocess.run(command, env=users_environment(), check=True, capture_output=True)
    took = time.perf_counter() - began
    sidecars = [json.loads(path.read_text()) for path in (folder / "outbox").glob("*.json")]
    heard = sum([result["type"] for result in sidecar["results"]] == ["transcript"] for sidecar in sidecars)
    return took, RECORDINGS - heard


def compare(what: str, model: Path, beam: int, bound: float) -> tuple[Figure, int]:
    """The host's whole time over the bare loop's, and recordings without a transcript."""
    bare, ours, lost = [], [], 0
    for repeat in range(REPEATS):
        with workplace() as folder:
            record(folder / "inbox", repeat)
            bare.append(time_bare(folder / "inbox", model, beam))
            took, missing = time_host(folder, model, beam)
            ours.append(took)
            lost += missing
    ratio = sorted(a / b for a, b in zip(ours, bare, strict=True))[REPEATS // 2]
    return Figure(what, spread(ours, digits=1), spread(bare, digits=1), ratio, bound, False), lost


def hearing() -> Report:
    """The host's whole time over the bare loop's, with the bundled model and with a large one."""
    with workplace() as folder:
        random_base(folder / "base")
        figures = [
            compare("bundled model, median of pairwise ratios", BUNDLED, 5, 1.15),
            compare("base size, median of pairwise ratios", folder / "base", 1, 1.05),
        ]
    return Report(
        "hearing",
        f"{RECORDINGS} recordings of {SENTENCES} sentences through Whisper, loading included on both sides",
        sum(lost for _, lost in figures),
        0,
        [figure for figure, _ in figures],
        [
            "Beside us: a bare faster-whisper loop with its speech filter. Ours also settles, hashes, journals and"
            " writes sidecars and subtitles.",
            "The one of base size has random weights and ends each window after few words: its encoder is what counts.",
        ],
    )


def random_base(folder: Path) -> None:
    """Write a model of the size of Whisper base, as faster-whisper loads it; it hears nothing that makes sense."""
    draw = _Weights(np.random.default_rng(0))
    spec = whisper_spec.WhisperSpec(LAYERS, HEADS, LAYERS, HEADS)
    draw.linear(spec.encoder.conv1, (WIDTH, MELS, 3))
    draw.linear(spec.encoder.conv2, (WIDTH, WIDTH, 3))
    for side, positions in ((spec.encoder, 1500), (spec.decoder, 448)):
        side.position_encodings.encodings = np.resize(sinusoids(positions).numpy(), (positions, WIDTH))
        draw.norm(side.layer_norm)
        for layer in side.layer:
            draw.layer(layer)
    rows = draw.normal((VOCABULARY, WIDTH))
    spec.decoder.embeddings.weight = spec.decoder.projection.weight = rows
    spec.decoder.layer_norm.beta = 50 * rows[EOT]  # so that it ends where it may
    vocabulary = Tokenizer.from_file(str(VOCABULARY_FILE)).get_vocab()
    spec.register_vocabulary(sorted(vocabulary, key=lambda token: vocabulary[token]))
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], [SPACE, EOT]
    spec.config.lang_ids, spec.config.alignment_heads = list(range(50_259, 50_358)), [[LAYERS - 1, 0]]
    spec.validate()
    spec.optimize(quantization="int8")
    folder.mkdir(parents=True)
    spec.save(str(folder))
    for name in ("tokenizer.json", "preprocessor_config.json"):
        shutil.copyfile(BUNDLED / name, folder / name)


class _Weights:
    """Fills layers of a specification with random numbers."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator

    def normal(self, shape: tuple[int, ...]) -> np.ndarray:
        return (0.02 * self._generator.standard_normal(shape)).astype(np.float32)

    def linear(self, target: Any, shape: tuple[int, ...]) -> None:
        target.weight, target.bias = self.normal(shape), np.zeros(shape[0], np.float32)

    def norm(self, target: Any) -> None:
        target.gamma, target.beta = np.ones(WIDTH, np.float32), np.zeros(WIDTH, np.float32)

    def attention(self, target: Any, parts: tuple[int, ...]) -> None:
        self.norm(target.layer_norm)
        for linear, part in zip(target.linear, parts, strict=True):
            self.linear(linear, (part * WIDTH, WIDTH))

    def layer(self, target: Any) -> None:
        self.attention(target.self_attention, (3, 1))
        if hasattr(target, "attention"):
            self.attention(target.attention, (1, 2, 1))
        self.norm(target.ffn.layer_norm)
        self.linear(target.ffn.linear_0, (4 * WIDTH, WIDTH))
        self.linear(target.ffn.linear_1, (WIDTH, 4 * WIDTH))
