"""Sentences, so that the first one is heard while the others wait, and the language that a text is in."""
# ruff: noqa: RUF001 - signs of many languages

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_PARAGRAPH = re.compile(r"\n\s*\n+|\n(?=\s*(?:[-•‣–]\s|\d{1,3}[.)]\s))")
_END = re.compile(r"(?<=[.!?…])[\"'”’»)\]]*\s+|(?<=[。！？])")
_CLAUSE = re.compile(r"(?<=[;:,、，；–—])\s*")
_SPACE = re.compile(r"\s+")

# The commonest words that are no words of the other languages.
COMMON = {
    "en": "the and of to is that was for with are this have from they be not you were which will would there",
    "de": "der die das und ist nicht ein eine zu mit auf den dem für von sich im es ich wir sie werden wird",
    "fr": "le la les et est une des dans que qui pour pas sur avec il elle nous vous au du ce sont été",
    "es": "el los las una y es que por para con del se al como más pero sus le ya muy está son",
    "it": "il gli una e è che di per con del della si non sono come più anche alla nel questo",
    "nl": "de het een en van is dat niet zijn op te voor met die er aan ook als bij naar",
}
GUESSED_FROM = 2000  # characters
STRETCH = 4000


def paragraphs(text: str) -> Iterator[str]:
    """Stretches between blank lines; the items of a list are some of their own."""
    for stretch in _PARAGRAPH.split(text.replace("\r\n", "\n").replace("\r", "\n")):
        if stretch.strip():
            yield stretch.strip()


def stretches(paragraph: str) -> Iterator[str]:
    """A paragraph in pieces that are quickly read, cut after sentences where it has any."""
    while len(paragraph) > STRETCH:
        head = paragraph[:STRETCH]
        cut = max(head.rfind(". "), head.rfind(".\n")) + 1 or head.rfind(" ") + 1 or STRETCH
        yield paragraph[:cut]
        paragraph = paragraph[cut:]
    yield paragraph


def sentences(paragraph: str, longest: int) -> Iterator[str]:
    """The sentences of a paragraph, none longer than so many characters."""
    for sentence in _END.split(_SPACE.sub(" ", paragraph)):
        if sentence.strip():
            yield from _fitting(sentence.strip(), longest, (_CLAUSE, _SPACE))


def _fitting(text: str, longest: int, places: Sequence[re.Pattern[str]]) -> Iterator[str]:
    """A text in pieces that are short enough, cut at the best places that there are."""
    if len(text) <= longest:
        yield text
        return
    if not places:
        yield from (text[start : start + longest] for start in range(0, len(text), longest))
        return
    piece = ""
    for part in places[0].split(text):
        if piece and len(piece) + 1 + len(part) > longest:
            yield from _fitting(piece, longest, places[1:])
            piece = ""
        piece = f"{piece} {part}".strip()
    if piece:
        yield from _fitting(piece, longest, places[1:])


def language_of(text: str, candidates: Sequence[str]) -> str:
    """Which of these languages a text is in, by its commonest words; the first one where they do not tell."""
    words = re.findall(r"[^\W\d_]+", text[:GUESSED_FROM].lower())

    def hits(language: str) -> int:
        common = set(COMMON.get(language.split("-")[0], "").split())
        return sum(word in common for word in words)

    return max(candidates, key=hits)
