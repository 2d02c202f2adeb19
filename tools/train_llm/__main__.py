"""`python -m tools.train_llm --out DIR`: train the bundled language model from nothing, in the plugin's wordings."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from random import Random

import torch

from plugins.generation.tasks import tasks_in
from plugins.llm.settings import TASKS
from tools.train_llm.export import export
from tools.train_llm.tokens import learn_tokens
from tools.train_llm.training import SYSTEMS, Progress, Settings, prompt_of, train
from tools.train_llm.world import case

VOCABULARY = 1024
TEXTS = 6_000


def make_model(folder: Path, settings: Settings, texts: int = TEXTS) -> Path:
    """Learn the tokens, train, and export into `folder`."""
    tasks, random = tasks_in(TASKS), Random(settings.seed)
    cases = [case(random) for _ in range(texts)]
    words = [text for one in cases for text in (prompt_of(one, tasks), one.answer)]
    tokenizer = learn_tokens([*words, *["system\nuser\nassistant\n" + SYSTEMS[-1]] * 200], VOCABULARY)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.gguf"
    export(train(tokenizer, tasks, settings, _print_progress), tokenizer, path)
    return path


def _print_progress(progress: Progress) -> None:
    if progress.step % 100 == 0:
        print(f"step {progress.step}: loss {progress.loss:.3f}, {progress.seconds:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    defaults = Settings()
    parser = argparse.ArgumentParser(prog="python -m tools.train_llm", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, made if missing")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="optimiser steps of 32 cases")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = make_model(options.out, replace(defaults, steps=options.steps, seed=options.seed))
    print(f"model written to {path}; measure it with: python -m tools.train_llm.evaluate --model {path}")


if __name__ == "__main__":
    main()
