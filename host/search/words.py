"""What a person types, as an expression for SQLite's full-text search (https://www.sqlite.org/fts5.html, section 3)."""

from __future__ import annotations

import re

from host.sql.functions import separated

# In quotation marks, as people and their keyboards write them, or up to the next space.
_QUOTES = '"“”„«»'
_PIECE = re.compile(rf"[{_QUOTES}]([^{_QUOTES}]*)[{_QUOTES}](\*?)|([^\s{_QUOTES}]+)")


def match_expression(text: str) -> str | None:
    """The expression for passages that have all words of a text, wherever they stand; None when it has no word.

    Words in quotation marks are found next to each other; one that ends with `*` begins what is found. Nothing else has
    a meaning, and no text gives an invalid expression: each piece becomes a string of words.
    """
    pieces = [_piece(found) for found in _PIECE.finditer(text.encode("utf-8", "replace").decode())]
    return " ".join(piece for piece in pieces if piece) or None


def _piece(found: re.Match[str]) -> str:
    phrase, star, word = found.groups()
    words = phrase if word is None else word
    is_beginning = bool(star) if word is None else word.endswith("*")
    words = separated(words.replace("\0", " "))
    if not any(character.isalnum() for character in words):
        return ""
    return f'"{words.replace("*", " ").strip()}"{" *" if is_beginning else ""}'


def plain(text: str) -> str:
    """The text without the signs that have a meaning for `match_expression`, for a model."""
    return " ".join(re.sub(rf"[{_QUOTES}*]", " ", text).split())
