"""What the SQL beside this file calls: functions that every connection to the journal has."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from typing import Any

MOST = 1 << 20  # passages of a result
SURE = 0.5  # a label that is more likely than all others together
# Stands between characters that are words of their own and have no space between them; a tokenizer takes it for one.
SEPARATOR = "\u200b"
# Thai and Lao, Burmese, Khmer, Japanese and Chinese: written without spaces.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9d\U00020000-\U000323af]+"
)

Passage = tuple[str, float | None, float | None]


def passages_of(data: str) -> str:
    """The passages of a result as JSON: text as it is indexed, and the seconds where it begins and ends, or null.

    They are told by the shape of the data, whichever plugin it is from: one for each of its `segments` (text, start,
    end), or of its `subtitles`; without any, its `text`; without that, the first of its `labels`, when that one is more
    likely than not. What a timeline says beside its subtitles are the words of other results.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return "[]"
    passages = islice(_passages(found), MOST) if isinstance(found, dict) else ()
    return json.dumps([(separated(text), begins, ends) for text, begins, ends in passages])


def _passages(data: dict[str, Any]) -> Iterator[Passage]:
    match data:
        case {"segments": [_, *_] as segments} | {"subtitles": [_, *_] as segments}:
            for segment in segments:
                if isinstance(segment, dict) and isinstance(segment.get("text"), str):
                    yield segment["text"], _seconds(segment.get("start")), _seconds(segment.get("end"))
        case {"text": str(text)} if text:
            yield text, None, None
        case {"labels": [{"name": str(name), "score": float(score)}, *_]} if score > SURE:
            yield name, None, None


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e9 else None


def separated(text: str) -> str:
    """A text whose words a tokenizer can tell: each character of a script without spaces becomes a word.

    So that any part of such a text is found, as a phrase. Characters that are composed are taken for the one they make.
    """
    if text.isascii():
        return text
    return _UNSPACED.sub(_apart, unicodedata.normalize("NFC", text))


def _apart(characters: re.Match[str]) -> str:
    return SEPARATOR.join(["", *characters[0], ""])


def joined(text: str) -> str:
    """A text that was `separated`, for people."""
    return text.replace(SEPARATOR, "")
