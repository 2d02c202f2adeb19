"""What a person types, as an expression for SQLite's full-text search (https://www.sqlite.org/fts5.html, section 3)."""

from __future__ import annotations

import re

from host.sql.functions import separated

# In quotation marks, as people and their keyboards write them, or up to the next space.
_QUOTES = '"“”„«»'
_PIECE = re.compile(rf"[{_QUOTES}]([^{_QUOTES}]*)[{_QUOTES}](\*?)|([^\s{_QUOTES}]+)")
MOST_WORDS = 40
# Words that say nothing of what a question is about; English, German, French.
_LINES = (
    "a about above after all also am an and any are as at be been before but by can could did do does for from had",
    "has have he her him his how i if in into is it its just me my no not of on or our out over say said says she",
    "should so some tell than that the their them then there these they this those to up us was we were what when",
    "where which who whom whose why will with would you your aber als am an auch auf aus bei bin bis da das dass",
    "dem den der des die doch du ein eine einem einen einer eines er es für gab gibt hat hatte ich ihr im in ist ja",
    "kann man mein mit nach nicht noch nun nur ob oder sagte sagt sein sich sie sind so über um und uns unser von",
    "vor wann war waren warum was wem wen wenn wer werden wie wieder wir wird wo wurde zu zum zur au aux avec ce",
    "ces cet cette comme dans de des dit du elle en est et il ils je la le les leur lui mais ne nous on ou où par",
    "pas pour pourquoi qu quand que quel quelle quels quelles qui quoi sa se ses si son sont sur un une vous y",
)
FUNCTION_WORDS = frozenset(word for line in _LINES for word in line.split())


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


def any_expression(text: str) -> str | None:
    """The expression for passages that have any word of a question that is about something; None when it has none.

    Those with several and rarer words come first, by the ranking of the search itself.
    """
    words = re.findall(r"\w+", text.encode("utf-8", "replace").decode().casefold())
    telling = [word for word in dict.fromkeys(words) if word not in FUNCTION_WORDS and not _is_letter(word)]
    pieces = [match_expression(word) for word in telling[:MOST_WORDS]]
    return " OR ".join(piece for piece in pieces if piece) or None


def _is_letter(word: str) -> bool:
    """Whether it is what an apostrophe left."""
    return len(word) == 1 and word.isascii() and word.isalpha()


def plain(text: str) -> str:
    """The text without the signs that have a meaning for `match_expression`, for a model."""
    return " ".join(re.sub(rf"[{_QUOTES}*]", " ", text).split())
