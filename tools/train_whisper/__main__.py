"""`python -m tools.train_whisper --out DIR`: train the bundled Whisper from nothing, export it.

Now and then DIR gets the model as it is by then, and `training.pt`, from which the same command goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer

from tools.train_whisper.corpus import speak_corpus
from tools.train_whisper.export import TOKENIZER, export
from tools.train_whisper.tokens import Tokens
from tools.train_whisper.training import Progress, Schedule, Training

UTTERANCES = 24_000
SAVED = 300  # steps between two checkpoints
CHECKPOINT = "training.pt"
# OpenAI's vocabulary (MIT), which is data and not trained here.
VOCABULARY_FILE = Path(__file__).parents[2] / "plugins" / "audio" / "tiny" / "whisper" / TOKENIZER


def make_model(folder: Path, schedule: Schedule, utterances: int = UTTERANCES, seed: int = 0, workers: int = 0) -> None:
    """Speak the corpus, train, and export into `folder`, where what an interrupted run left is gone on with."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = Tokens(Tokenizer.from_file(str(VOCABULARY_FILE)))
    training = Training(speak_corpus(utterances, seed, _print_utterances), tokens, schedule, seed)
    checkpoint = folder / CHECKPOINT
    if checkpoint.exists():
        training.restore(checkpoint)
    told = _Told()
    for progress in training.steps(workers):
        told.add(progress)
        if progress.step % SAVED == 0:
            training.save(checkpoint)
            export(training.model, VOCABULARY_FILE, folder)
    export(training.model, VOCABULARY_FILE, folder)
    checkpoint.unlink(missing_ok=True)


def _print_utterances(count: int) -> None:
    if count % 2000 == 0:
        print(f"{count} utterances", file=sys.stderr, flush=True)


class _Told:
    """Prints the means of so many steps."""

    def __init__(self, count: int = 50) -> None:
        self._count = count
        self._some: list[Progress] = []

    def add(self, progress: Progress) -> None:
        self._some.append(progress)
        if len(self._some) < self._count:
            return
        means = {
            name: sum(getattr(one, name) for one in self._some) / self._count
            for name in ("token_loss", "time_loss", "frame_loss", "tokens_right")
        }
        self._some = []
        print(
            f"step {progress.step}: token loss {means['token_loss']:.3f} ({means['tokens_right']:.1%} right), "
            f"time loss {means['time_loss']:.2f}, frame loss {means['frame_loss']:.3f}, "
            f"{progress.seconds:.0f} s, {time.process_time():.0f} s of CPU",
            file=sys.stderr,
            flush=True,
        )


def main() -> None:
    default = Schedule()
    parser = argparse.ArgumentParser(prog="python -m tools.train_whisper", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, made if missing")
    parser.add_argument("--utterances", type=int, default=UTTERANCES, help="how many to speak and train on")
    parser.add_argument("--steps", type=int, default=default.steps)
    parser.add_argument("--short", type=int, default=default.short, help="of these, with short windows")
    parser.add_argument("--cooldown", type=int, default=default.cooldown, help="of these, with a falling rate")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw the windows; 0: this one")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    schedule = Schedule(options.steps, options.short, options.cooldown)
    make_model(options.out, schedule, options.utterances, options.seed, options.workers)
    print(f"model written to {options.out}; measure it with: python -m tools.train_whisper.evaluate")


if __name__ == "__main__":
    main()
