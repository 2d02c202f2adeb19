"""The whole host beside a bare llama-cpp-python loop: the same texts, model, wording and limits, loading included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import torch

from plugins.generation.tasks import Task, tasks_in
from plugins.llm.settings import TASKS
from tools.bench.intake import users_environment, workplace
from tools.bench.report import Figure, Report, spread
from tools.train_llm.evaluate import MODEL
from tools.train_llm.export import export
from tools.train_llm.model import Llama, Shape
from tools.train_llm.tokens import learn_tokens
from tools.train_llm.world import meeting

REPEATS = 3
CONTEXT = 512
FEW_TOKENS = 40
SHORT = f"""
about = "One sentence."
form = "text"
result = "plugins.llm.results:Summary"
prompt = "Summarise this transcript in one sentence.\\n{{text}}"
max_tokens = {FEW_TOKENS}
"""

# As nice as our workers are: on a machine that does other things, too, nothing else could be compared.
BARE = """
import os; os.nice(19)
import sys
from pathlib import Path
from llama_cpp import Llama
folder, model, threads, tokens, wording = sys.argv[1:]
threads = int(threads)
llama = Llama(model, n_ctx=512, n_threads=threads, n_threads_batch=threads, verbose=False)
said = 0
for path in sorted(Path(folder).iterdir()):
    question = wording.replace("{text}", path.read_text())
    answer = llama.create_chat_completion(
        [{"role": "user", "content": question}], temperature=0.0, max_tokens=int(tokens), repeat_penalty=1.0
    )
    said += bool(answer["choices"][0]["message"]["content"])
print(said)
"""

CONFIG = """
[paths]
data = "data"
outbox = "outbox"
[[inbox]]
path = "inbox"
after = "keep"
[plugins.llm]
model = "{model}"
context = 512
threads = {threads}
task_folder = "tasks"
tasks = {{ text = ["{task}"] }}
"""


def write_texts(folder: Path, count: int, seed: int) -> None:
    """Dialogues of the bundled model's world, each another one."""
    folder.mkdir(exist_ok=True)
    random = Random(f"reading {seed}")
    for number in range(count):
        (folder / f"{number:04}.txt").write_text(f"{meeting(random, 'test').values['text']}\n{' ' * (number % 7)}")


def time_bare(inbox: Path, model: Path, task: Task, count: int) -> float:
    """Seconds of the whole process."""
    wording = task.brief if task.brief and model == MODEL else task
    threads = str(os.cpu_count())
    command = [sys.executable, "-c", BARE, str(inbox), str(model), threads, str(wording.max_tokens), wording.prompt]
    began = time.perf_counter()
    answer = subprocess.run(command, env=users_environment(), check=True, capture_output=True, text=True)
    took = time.perf_counter() - began
    if int(answer.stdout.split()[-1]) != count:
        raise RuntimeError(f"The bare loop answered {answer.stdout!r} texts.")
    return took


def time_host(folder: Path, model: Path, task: str, count: int) -> tuple[float, int]:
    """Seconds of `sensorium run --once`, and how many texts are without a summary."""
    name = "bundled" if model == MODEL else str(model)
    (folder / "tasks").mkdir(exist_ok=True)
    (folder / "tasks" / "short.toml").write_text(SHORT)
    (folder / "config.toml").write_text(CONFIG.format(model=name, task=task, threads=os.cpu_count()))
    command = [sys.executable, "-m", "host", "run", "--once", "--config", str(folder / "config.toml")]
    began = time.perf_counter()
    subprocess.run(command, env=users_environment(), check=True, capture_output=True, cwd=folder)
    took = time.perf_counter() - began
    sidecars = [json.loads(path.read_text()) for path in (folder / "outbox").glob("*.json")]
    return took, count - sum("summary" in [one["type"] for one in sidecar["results"]] for sidecar in sidecars)


def compare(what: str, model: Path, task: Task, count: int, bound: float) -> tuple[Figure, int]:
    """The host's whole time over the bare loop's, and texts without a summary."""
    bare, ours, lost = [], [], 0
    for repeat in range(REPEATS):
        with workplace() as folder:
            write_texts(folder / "inbox", count, repeat)
            bare.append(time_bare(folder / "inbox", model, task, count))
            took, missing = time_host(folder, model, task.name, count)
            ours.append(took)
            lost += missing
    ratio = sorted(a / b for a, b in zip(ours, bare, strict=True))[REPEATS // 2]
    return Figure(what, spread(ours, digits=1), spread(bare, digits=1), ratio, bound, False), lost


def reading() -> Report:
    """The host's whole time over the bare loop's, with the bundled model and with a larger one."""
    with workplace() as folder:
        (folder / "short.toml").write_text(SHORT)
        tasks = tasks_in(TASKS, folder)
        large = random_model(folder / "large.gguf")
        figures = [
            compare("bundled model, 3,000 texts, median of pairwise ratios", MODEL, tasks["summary"], 3000, 1.15),
            compare("170 million parameters, 60 texts, the same", large, tasks["short"], 60, 1.05),
        ]
    return Report(
        "reading",
        "Dialogues through a language model, one summary each, loading included on both sides",
        sum(lost for _, lost in figures),
        0,
        [figure for figure, _ in figures],
        [
            "Beside us: a bare llama-cpp-python loop. Ours also settles, hashes, journals and writes sidecars.",
            f"The larger one has random weights, and writes {FEW_TOKENS} tokens for each text.",
        ],
    )


def random_model(path: Path) -> Path:
    """A Llama of some 170 million random parameters; it says nothing that makes sense."""
    torch.manual_seed(0)
    random = Random(0)
    tokenizer = learn_tokens([meeting(random, "train").values["text"] for _ in range(500)], 800)
    shape = Shape(tokenizer.get_vocab_size(), width=1024, layers=13, heads=16, feed_forward=2816, context=CONTEXT)
    export(Llama(shape), tokenizer, path, "random")
    return path
