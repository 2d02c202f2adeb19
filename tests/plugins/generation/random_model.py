"""A Llama with random weights: it says nothing that makes sense, through the very code that runs real models."""

from __future__ import annotations

from pathlib import Path

import torch

from tools.train_llm.export import export
from tools.train_llm.model import Llama, Shape
from tools.train_llm.tokens import learn_tokens

WORDS = ['{"a": ["b", 1.5, true, null]}', "the quick brown fox jumps over a lazy dog", "1234567890", "\n\t"]


def make(folder: Path, *, context: int = 4096, width: int = 64, layers: int = 2) -> Path:
    """Its file; `width` and `layers` make it as large as a test wants it."""
    torch.manual_seed(7)
    tokenizer = learn_tokens(WORDS * 20, 512)
    shape = Shape(tokenizer.get_vocab_size(), width=width, layers=layers, feed_forward=3 * width, context=context)
    path = folder / "random.gguf"
    export(Llama(shape), tokenizer, path, "random")
    return path
