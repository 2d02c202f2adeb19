"""Byte-pair merges in which every word of the drawn world is one token.

The method is that of Sennrich et al. 2016 (https://arxiv.org/abs/1508.07909); the file format is open_clip's
`SimpleTokenizer`: gzip, a version line, then one merge a line, a word's last symbol marked with `</w>`.
"""

import gzip
import itertools
import random
import re
from collections import Counter
from pathlib import Path

from tools.drawn_world import all_scenes, caption, random_scene, varied_caption

BYTE_SYMBOLS, SPECIAL_TOKENS = 512, 2
Merge = tuple[str, str]


def learn_merges(words: Counter[str]) -> list[Merge]:
    """The merges, most frequent pair first, until each word is a single symbol; ties are broken by the alphabet."""
    symbols = {word: [*word[:-1], word[-1] + "</w>"] for word in words}
    merges: list[Merge] = []
    while pairs := _count_pairs(symbols, words):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        symbols = {word: _merge(parts, best) for word, parts in symbols.items()}
    return merges


def count_words(seed: int, captions: int = 20_000) -> Counter[str]:
    """How often each word stands in captions of this world; every word of it is there."""
    rng = random.Random(seed)
    texts = [caption(scene) for scene in all_scenes()]
    texts += [varied_caption(random_scene(rng), rng) for _ in range(captions)]
    return Counter(word for text in texts for word in re.findall(r"[a-z]+", text))


def write_merges(merges: list[Merge], path: Path) -> None:
    """Write the file that `open_clip.get_tokenizer(..., bpe_path=...)` reads; same merges, same bytes."""
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def vocabulary_size(merges: list[Merge]) -> int:
    return BYTE_SYMBOLS + len(merges) + SPECIAL_TOKENS


def _count_pairs(symbols: dict[str, list[str]], words: Counter[str]) -> Counter[Merge]:
    pairs: Counter[Merge] = Counter()
    for word, parts in symbols.items():
        for pair in itertools.pairwise(parts):
            pairs[pair] += words[word]
    return pairs


def _merge(parts: list[str], pair: Merge) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged
