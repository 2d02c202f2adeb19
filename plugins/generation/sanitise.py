"""Words of a user that a model would take for its own control marks, made harmless."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

MEDIA_MARK = "<__media__>"  # where llama.cpp puts pictures
USUAL = (MEDIA_MARK, "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "[INST]", "[/INST]")


def sanitiser(marks: Iterable[str]) -> Callable[[str], str]:
    """A function that parts each of these marks after its first character, so that it is read as plain text."""
    known = sorted({mark for mark in (*USUAL, *marks) if len(mark) > 1}, key=len, reverse=True)
    pattern = re.compile("|".join(re.escape(mark) for mark in known))
    return lambda text: pattern.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text).replace("\0", " ")
