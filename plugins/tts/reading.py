"""How a text is read: numbers, dates, times, sums of money, units and abbreviations as words, the rest left out.

English, German and French by the tables of `reading.toml`; in other languages numbers alone, if num2words knows them.
"""
# ruff: noqa: RUF001 - signs of many languages

from __future__ import annotations

import functools
import re
import tomllib
import unicodedata
from pathlib import Path
from typing import Any

import num2words

TABLES = Path(__file__).with_name("reading.toml")
O_CLOCK = "o'clock"
LONGEST_NUMBER = 15  # digits; longer ones are read digit by digit
KEPT_SYMBOLS = frozenset("%€$£§°&+=@#<>/'’-–—,;:.!?…()[]\"“”„«»¿¡。！？、，：；~^`|_*\\")
# Repeats are bounded and begin where nothing of the kind precedes: a hostile text is read in linear time.
NUMBER = r"\d+(?:[.,]\d+|[\u202f\u00a0 ]\d{3}(?!\d)){0,40}"
_ADDRESS = re.compile(r"https?://(?:www\.)?([^\s/?#<>\"]+)\S*|\bwww\.([^\s/?#<>\"]+)\S*")
_MAIL = re.compile(r"(?<![\w.+-])([\w.+-]{1,64})@([\w-]{1,63}(?:\.[\w-]{1,63}){1,8})\b")
_LINK = re.compile(r"!?\[([^\[\]\n]{0,200})\]\([^()\n]{0,300}\)")
_MARKS = re.compile(r"[*_`|~^\\]+|^[ \t]{0,3}(?:#{1,6}|>)[ \t]+", re.MULTILINE)
_ISO_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_DOTTED_DATE = re.compile(r"\b(\d{1,2})\. ?(\d{1,2})\. ?(\d{4})\b")
_SLASHED_DATE = re.compile(r"\b(\d{1,2})/(\d{1,2})/(\d{4})\b")
_TIME = re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)(?::[0-5]\d)?\b(?!:)")
_FRENCH_TIME = re.compile(r"\b([01]?\d|2[0-3]) ?h(?: ?([0-5]\d))?\b")
_ENGLISH_ORDINAL = re.compile(r"\b(\d{1,9})(?:st|nd|rd|th)\b")
_FRENCH_ORDINAL = re.compile(r"\b(\d{1,9})(?:ers?|[èe]res?|[èe]mes?|es?)\b")
_VERSION = re.compile(r"\b\d+(?:\.\d+){2,}\b")
_WHOLE = re.compile(r"(?<![\w.,])\d+(?![\w]|[.,]\d)")
_NUMBER = re.compile(rf"(?<![\w.,])(-|−)?({NUMBER})(?![\d])")


def cleaned(text: str) -> str:
    """The text without what nobody says: control characters, emoji, marks of Markdown; addresses by their names."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = _LINK.sub(r"\1", text)
    text = _ADDRESS.sub(lambda found: found[1] or found[2], text)
    text = "".join(map(_said_character, text))
    return _MARKS.sub(" ", text)


@functools.lru_cache(4096)
def _said_character(character: str) -> str:
    if character in "\n\t " or character in KEPT_SYMBOLS:
        return character
    category = unicodedata.category(character)
    if category[0] in "LMN":
        return "" if "\ufe00" <= character <= "\ufe0f" else character
    if category in ("Cf", "Mn"):
        return ""
    return " " if category[0] in "CSZ" else character


def is_sayable(text: str) -> bool:
    """Whether there is a letter or digit in it."""
    return any(character.isalnum() for character in text)


@functools.cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(TABLES.read_text(encoding="utf-8"))


@functools.cache
def reader(language: str) -> Reader:
    """How a language is read, by its code as "en-us"."""
    return Reader(language)


class Reader:
    """Makes words of what is written otherwise."""

    def __init__(self, language: str) -> None:
        self.base = language.lower().replace("_", "-").split("-")[0]
        self._american = language.lower().replace("_", "-") in ("en", "en-us")
        self._table = _tables().get(self.base)
        self._counts = self.base in num2words.CONVERTER_CLASSES
        if self._table:
            self._abbreviations = _alternatives(self._table["abbreviations"])
            money, units = _choice(self._table["currencies"]), _choice(self._table["units"])
            self._money_before = re.compile(rf"({money}) ?({NUMBER})")
            self._money_after = re.compile(rf"(?<![\w.,])({NUMBER})[ \u00a0\u202f]?({money})(?!\w)")
            self._unit = re.compile(rf"(?<![\w.,])(-|−)?({NUMBER})[ \u00a0\u202f]?({units})(?![\w/])")
            months = _choice(self._table["months"])
            self._english_date = re.compile(rf"\b({months}) (\d{{1,2}})(?:st|nd|rd|th)?(?:,? (\d{{4}}))?\b")
            self._date = re.compile(rf"\b(\d{{1,2}})(?:\.|st|nd|rd|th|er)? ({months})(?:,? (\d{{4}}))?\b")

    def words(self, text: str) -> str:
        """The text as it is said."""
        if self._table:
            text = self._mails(self._abbreviated(text))
            for step in (self._dates, self._times, self._money, self._units, self._ordinals):
                text = step(text)
            dot = f" {self._table['dot']} "
            text = _VERSION.sub(lambda found: dot.join(map(self._plain, found[0].split("."))), text)
            text = _NUMBER.sub(lambda found: self._signed(found[1], found[2]), text)
        elif self._counts:
            text = _WHOLE.sub(lambda found: self._plain(found[0]), text)
        if self._table:
            for symbol, word in self._table["symbols"].items():
                text = text.replace(symbol, f" {word} ")
        return re.sub(r"[<>\[\]]+", " ", text)

    # -- what is written short ---------------------------------------------------------------------------------------

    def _abbreviated(self, text: str) -> str:
        return self._abbreviations.sub(lambda found: self._table["abbreviations"][found[0]], text)

    def _mails(self, text: str) -> str:
        at, dot = self._table["at"], self._table["dot"]
        return _MAIL.sub(lambda found: f"{found[1]} {at} {found[2]}".replace(".", f" {dot} "), text)

    def _money(self, text: str) -> str:
        text = self._money_before.sub(lambda found: self._sum(found[2], found[1]), text)
        return self._money_after.sub(lambda found: self._sum(found[1], found[2]), text)

    def _sum(self, written: str, currency: str) -> str:
        one, many, small = self._table["currencies"][currency]
        whole, _, part = self._number(written).partition(".")
        said = f"{self._plain(whole)} {one if whole == '1' else many}"
        if len(part) != 2:
            return f"{self._spoken(self._number(written))} {many}" if part else said
        if not int(part):
            return said
        link = {"en": "and "}.get(self.base, "")
        return f"{said} {link}{self._plain(str(int(part)))} {small}".rstrip()

    def _units(self, text: str) -> str:
        def said(found: re.Match[str]) -> str:
            one, many = self._table["units"][found[3]]
            return f"{self._signed(found[1], found[2])} {one if found[2] == '1' else many}"

        return self._unit.sub(said, text)

    # -- when --------------------------------------------------------------------------------------------------------

    def _dates(self, text: str) -> str:
        text = _ISO_DATE.sub(lambda found: self._day(found, found[3], found[2], found[1]), text)
        if self.base != "en":
            text = _DOTTED_DATE.sub(lambda found: self._day(found, found[1], found[2], found[3]), text)
        day, month = (2, 1) if self._american else (1, 2)
        text = _SLASHED_DATE.sub(lambda found: self._day(found, found[day], found[month], found[3]), text)
        if self.base == "en":
            text = self._english_date.sub(lambda found: self._named(found, found[2], found[1], found[3]), text)
        return self._date.sub(lambda found: self._named(found, found[1], found[2], found[3]), text)

    def _day(self, found: re.Match[str], day: str, month: str, year: str) -> str:
        if not (1 <= int(month) <= 12 and 1 <= int(day) <= 31):
            return found[0]
        return self._named(found, day, self._table["months"][int(month) - 1], year)

    def _named(self, found: re.Match[str], day: str, month: str, year: str | None) -> str:
        if not 1 <= int(day) <= 31:
            return found[0]
        if self.base == "en":
            said = f"{month} {self._count(int(day), 'ordinal')}"
        elif self.base == "de":
            said = f"{self._german_day(int(day), found.string[: found.start()])} {month}"
        else:
            said = f"{'premier' if int(day) == 1 else self._plain(str(int(day)))} {month}"
        if year is None:
            return said
        return f"{said}{',' if self.base == 'en' else ''} {self._count(int(year), 'year')}"

    def _german_day(self, day: int, before: str) -> str:
        word = before.split()[-1].lower() if before.split() else ""
        stem = self._count(day, "ordinal").removesuffix("e").removesuffix("er")
        ending = "en" if word in ("am", "vom", "zum", "bis", "den", "dem", "ab", "seit") else "e"
        return stem + (ending if word in ("der", "die", "das") or ending == "en" else "er")

    def _times(self, text: str) -> str:
        if self.base == "fr":
            text = _FRENCH_TIME.sub(lambda found: self._time(int(found[1]), int(found[2] or 0)), text)
        text = _TIME.sub(lambda found: self._time(int(found[1]), int(found[2])), text)
        return re.sub(r"\bUhr((?: \w+)?) Uhr\b", r"Uhr\1", text) if self.base == "de" else text

    def _time(self, hour: int, minute: int) -> str:
        hours, minutes = self._plain(str(hour)), self._plain(str(minute)) if minute else ""
        if self.base == "en":
            return f"{hours} {'oh ' if 0 < minute < 10 else ''}{minutes or O_CLOCK}"
        if self.base == "de":
            return f"{'ein' if hour == 1 else hours} Uhr {minutes}".rstrip()
        return f"{'une' if hour == 1 else hours} heure{'s' if hour > 1 else ''} {minutes}".rstrip()

    # -- how many ----------------------------------------------------------------------------------------------------

    def _ordinals(self, text: str) -> str:
        pattern = {"en": _ENGLISH_ORDINAL, "fr": _FRENCH_ORDINAL}.get(self.base)
        return pattern.sub(lambda found: self._count(int(found[1]), "ordinal"), text) if pattern else text

    def _signed(self, sign: str | None, written: str) -> str:
        said = self._spoken(self._number(written))
        return f"{self._table['minus']} {said}" if sign else said

    def _number(self, written: str) -> str:
        """A number as Python writes it; of several numbers in a row, as they stand."""
        thousands, decimal = self._table["thousands"], self._table["decimal"]
        spaces = "[\u00a0\u202f ]" if thousands == " " else f"[{re.escape(thousands)}\u202f]"
        if re.fullmatch(rf"\d{{1,3}}(?:{spaces}\d{{3}})+(?:{re.escape(decimal)}\d+)?", written):
            written = re.sub(spaces, "", written)
        return written.replace(decimal, ".") if re.fullmatch(rf"\d+{re.escape(decimal)}\d+", written) else written

    def _spoken(self, number: str) -> str:
        if re.fullmatch(r"\d+(?:\.\d+)?", number):
            return self._plain(number)
        return re.sub(r"\d+", lambda found: self._plain(found[0]), number)

    def _plain(self, number: str) -> str:
        whole, _, part = number.partition(".")
        if len(whole) > LONGEST_NUMBER or len(part) > LONGEST_NUMBER or (len(whole) > 1 and whole.startswith("0")):
            return " ".join(self._count(int(digit), "cardinal") for digit in number if digit.isdigit())
        if part:
            digits = " ".join(self._count(int(digit), "cardinal") for digit in part)
            return f"{self._count(int(whole), 'cardinal')} {self._table['point']} {digits}"
        return self._count(int(whole), "cardinal")

    def _count(self, number: int, how: str) -> str:
        return _counted(number, self.base, how)


@functools.lru_cache(4096)
def _counted(number: int, language: str, how: str) -> str:
    try:
        said = str(num2words.num2words(number, lang=language, to=how))
    except (NotImplementedError, OverflowError, KeyError, TypeError, ValueError):
        return str(number)
    return said.replace(",", "")


def _choice(names: Any) -> str:
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))


def _alternatives(names: Any) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{_choice(names)})(?!\w)")
