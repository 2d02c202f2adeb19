"""Cutting a text that is longer than a model's context, by the model's own count of tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator

BOUNDARIES = ("\n\n", "\n", ". ", "? ", "! ", "。", " ")
SAFETY = 0.9  # parts are first cut by the average of the whole text


def parts_of(text: str, limit: int, count: Callable[[str], int]) -> Iterator[str]:
    """Parts of at most `limit` tokens that make up the text, cut where a paragraph, a line, a sentence, a word ends."""
    total = count(text)
    if total <= limit:
        yield text
        return
    size = max(1, int(len(text) * limit / total * SAFETY))
    while text:
        part = text[: _end(text, size)]
        while len(part) > 1 and count(part) > limit:
            part = part[: _end(part, len(part) * 2 // 3)]
        yield part
        text = text[len(part) :]


def _end(text: str, size: int) -> int:
    """Where to cut at most `size` characters: at the best boundary of their second half."""
    if len(text) <= size:
        return len(text)
    for boundary in BOUNDARIES:
        found = text.rfind(boundary, size // 2, size)
        if found >= 0:
            return found + len(boundary)
    return max(1, size)
