"""`python -m tools.train_whisper --out DIR`: train the bundled Whisper from nothing, export it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from tools.train_whisper.corpus import speak_corpus
from tools.train_whisper.export import TOKENIZER, export
from tools.train_whisper.tokens import Tokens
from tools.train_whisper.training import STAGES, Progress, Stage, train

UTTERANCES = 24_000
# OpenAI's vocabulary (MIT), which is data and not trained here.
VOCABULARY_FILE = Path(__file__).parents[2] / "plugins" / "audio" / "tiny" / "whisper" / TOKENIZER


def make_model(folder: Path, stages: Sequence[Stage] = STAGES, utterances: int = UTTERANCES, seed: int = 0) -> None:
    """Speak the corpus, train, and export into `folder`."""
    tokens = Tokens(Tokenizer.from_file(str(VOCABULARY_FILE)))
    corpus = speak_corpus(utterances, seed, _print_utterances)
    export(train(corpus, tokens, stages, seed, _print_progress), VOCABULARY_FILE, folder)


def _print_utterances(count: int) -> None:
    if count % 2000 == 0:
        print(f"{count} utterances", file=sys.stderr, flush=True)


def _print_progress(progress: Progress) -> None:
    if progress.step % 50 == 0:
        print(
            f"step {progress.step}: token loss {progress.token_loss:.3f} ({progress.tokens_right:.1%} right), "
            f"time loss {progress.time_loss:.2f}, frame loss {progress.frame_loss:.3f}, {progress.seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.train_whisper", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, made if missing")
    parser.add_argument("--utterances", type=int, default=UTTERANCES, help="how many to speak and train on")
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of each stage")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    stages = [replace(stage, steps=max(1, round(stage.steps * options.share))) for stage in STAGES]
    make_model(options.out, stages, options.utterances, options.seed)
    print(f"model written to {options.out}; measure it with: python -m tools.train_whisper.evaluate")


if __name__ == "__main__":
    main()
