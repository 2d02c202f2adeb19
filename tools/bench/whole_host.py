"""(c) The whole host beside a bare open_clip loop: the same files, model and batches, loading included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from tools.bench.intake import users_environment, workplace
from tools.bench.report import Figure, Report, spread
from tools.drawn_world import write_samples

FILES = 500
REPEATS = 3
SIZE = 320

# As nice as our workers are: on a machine that does other things, too, nothing else could be compared.
BARE = """
import os; os.nice(19)
import sys, torch, open_clip
from pathlib import Path
from PIL import Image
torch.set_num_threads(int(sys.argv[2]))
model, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32", pretrained=None)
model.eval()
files = sorted(Path(sys.argv[1]).iterdir())
found = 0
with torch.inference_mode():
    for start in range(0, len(files), 32):
        batch = torch.stack([preprocess(Image.open(path).convert("RGB")) for path in files[start:start + 32]])
        found += len(model.encode_image(batch, normalize=True).tolist())
print(found)
"""

CONFIG = """
[paths]
data = "data"
outbox = "outbox"
[[inbox]]
path = "inbox"
after = "keep"
[plugins.metadata]
enabled = false
[plugins.clip]
model = "ViT-B-32"
pretrained = ""
top = 0
"""


def time_bare(folder: Path) -> float:
    """Seconds of the whole process."""
    environment = users_environment(OMP_NUM_THREADS=str(os.cpu_count()))
    command = [sys.executable, "-c", BARE, str(folder), str(os.cpu_count())]
    began = time.perf_counter()
    answer = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    took = time.perf_counter() - began
    if int(answer.stdout.split()[-1]) != FILES:
        raise RuntimeError(f"The bare loop found {answer.stdout!r} vectors.")
    return took


def time_host(folder: Path) -> tuple[float, int]:
    """Seconds of `sensorium run --once`, and how many files are without a result."""
    (folder / "config.toml").write_text(CONFIG)
    command = [sys.executable, "-m", "host", "run", "--once", "--config", str(folder / "config.toml")]
    began = time.perf_counter()
    subprocess.run(command, env=users_environment(), check=True, capture_output=True)
    took = time.perf_counter() - began
    sidecars = [json.loads(path.read_text()) for path in (folder / "outbox").glob("*.json")]
    return took, FILES - sum(len(sidecar["results"]) == 1 for sidecar in sidecars)


def whole_host() -> Report:
    """The host's whole time over the bare loop's."""
    bare, ours, lost = [], [], 0
    for repeat in range(REPEATS):
        with workplace() as folder:
            write_samples(folder / "inbox", FILES, seed=repeat, size=SIZE)
            bare.append(time_bare(folder / "inbox"))
            took, missing = time_host(folder)
            ours.append(took)
            lost += missing
    ratio = sorted(a / b for a, b in zip(ours, bare, strict=True))[REPEATS // 2]
    what = "whole time, median of pairwise ratios"
    figure = Figure(what, spread(ours, digits=1), spread(bare, digits=1), ratio, 1.10, False)
    return Report(
        "whole_host",
        f"{FILES} pictures through ViT-B-32 with random weights, batches of 32, loading included on both sides",
        lost,
        0,
        [figure],
        ["Beside us: a bare open_clip loop. Ours also settles, hashes, journals and writes sidecars."],
    )
