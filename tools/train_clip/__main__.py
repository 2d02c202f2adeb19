"""`python -m tools.train_clip --out DIR`: train the bundled CLIP from nothing, export it."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from open_clip.tokenizer import SimpleTokenizer

from tools.train_clip.bpe import Merge, count_words, learn_merges, write_merges
from tools.train_clip.export import export
from tools.train_clip.model import CONTEXT_LENGTH
from tools.train_clip.pictures import draw_training_set
from tools.train_clip.training import Progress, Settings, train

PICTURES = 60_000


def make_model(folder: Path, settings: Settings, pictures: int = PICTURES) -> None:
    """Learn the tokens, draw the pictures, train, and export into `folder`."""
    merges = learn_merges(count_words(settings.seed))
    data = draw_training_set(pictures, settings.seed)
    model = train(data, _tokenizer(merges), settings, _print_progress)
    export(model, merges, folder)


def _tokenizer(merges: list[Merge]) -> SimpleTokenizer:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bpe.txt.gz"
        write_merges(merges, path)
        return SimpleTokenizer(bpe_path=str(path), context_length=CONTEXT_LENGTH)


def _print_progress(progress: Progress) -> None:
    if progress.step % 50 == 0:
        print(
            f"step {progress.step}: contrastive loss {progress.contrastive_loss:.3f}, "
            f"attribute loss {progress.attribute_loss:.3f}, {progress.seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )


def main() -> None:
    defaults = Settings()
    parser = argparse.ArgumentParser(prog="python -m tools.train_clip", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model, made if missing")
    parser.add_argument("--steps", type=int, default=defaults.steps, help="optimiser steps of 128 pictures")
    parser.add_argument("--pictures", type=int, default=PICTURES, help="how many pictures to draw and train on")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; weights differ a little between numbers")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    make_model(options.out, replace(defaults, steps=options.steps, seed=options.seed), options.pictures)
    print(f"model written to {options.out}; measure it with: python -m tools.train_clip.evaluate --model {options.out}")


if __name__ == "__main__":
    main()
