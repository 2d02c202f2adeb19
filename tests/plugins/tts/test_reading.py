"""What is not a word is read as people would; what nobody says is left out; a hostile text takes no longer."""

from __future__ import annotations

import pytest

from plugins.tts.reading import cleaned, is_sayable, reader
from plugins.tts.sentences import STRETCH, language_of, paragraphs, sentences, stretches

# ruff: noqa: E501 - one case a line
READ = [
    ("en-us", "Dr. Smith left on 3/4/2026 at 14:30.", "Doctor Smith left on March fourth, twenty twenty-six at fourteen thirty."),
    ("en-gb", "3/4/2026", "April third, twenty twenty-six"),
    ("en", "It costs $5.50, approx. 12% of £1.", "It costs five dollars and fifty cents, approximately twelve percent of one pound."),
    ("en", "the 1st and 22nd of 1,234.5 km/h", "the first and twenty-second of one thousand two hundred and thirty-four point five kilometres an hour"),
    ("en", "at 9:05 and 10:00", "at nine oh five and ten o'clock"),
    ("en", "-5 °C, agent 007, version 1.2.3", "minus five degrees Celsius, agent zero zero seven, version one dot two dot three"),
    ("en", "see https://www.example.org/a?b=c", "see example.org"),
    ("en", "write to me@example.org", "write to me at example dot org"),
    ("de", "Am 21.11.2026 um 14:30 Uhr", "Am einundzwanzigsten November zweitausendsechsundzwanzig um vierzehn Uhr dreißig"),
    ("de", "Der 3. Oktober, z. B. 1.234,5 kg bzw. 3 %", "Der dritte Oktober, zum Beispiel eintausendzweihundertvierunddreißig Komma fünf Kilogramm beziehungsweise drei Prozent"),
    ("de", "Das kostet 5,50 €.", "Das kostet fünf Euro fünfzig."),
    ("fr", "Le 1er mai à 14h30, M. Dupont a payé 5,50 €.", "Le premier mai à quatorze heures trente, Monsieur Dupont a payé cinq euros cinquante."),
    ("fr", "le 21/11/2026, env. 1 234 m", "le vingt et un novembre deux mille vingt-six, environ mille deux cent trente-quatre mètres"),
    ("it", "Ho 21 gatti", "Ho ventuno gatti"),
    ("tlh", "21 Qapla", "21 Qapla"),
]  # fmt: skip


@pytest.mark.parametrize(("language", "written", "said"), READ)
def test_numbers_dates_and_abbreviations_are_read_as_people_read_them(language, written, said):
    assert " ".join(reader(language).words(cleaned(written)).split()) == said


def test_what_nobody_says_is_left_out():
    written = "# Title\n**Bold** \x00\x07and [a link](http://example.org) 🎉\u200b\ud7ff\ue000 done"
    assert " ".join(cleaned(written).split()) == "Title Bold and a link done"
    assert not is_sayable(cleaned("🎉 … 👍🏽 -- !\x01"))


def test_sentences_end_where_they_end():
    text = 'He said "Stop!" Then he left... Really? Yes; that was 3.5 km.\n\nA new one\n- a point\n- another'
    found = [sentence for paragraph in paragraphs(text) for sentence in sentences(paragraph, 100)]
    assert found == [
        'He said "Stop!', "Then he left...", "Really?", "Yes; that was 3.5 km.", "A new one", "- a point", "- another",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["word " * 300, "a" * 1000, "one, two; three, " * 80, "。" * 50 + "字" * 900])
def test_no_utterance_is_longer_than_it_may_be_and_nothing_is_lost(text):
    found = list(sentences(text, 90))
    assert max(map(len, found)) <= 90
    assert "".join("".join(found).split()) == "".join(text.split())


def test_a_long_paragraph_is_read_in_stretches():
    text = "This is a sentence. " * 2000
    found = list(stretches(text))
    assert "".join(found) == text
    assert max(map(len, found)) <= STRETCH
    assert all(one.rstrip().endswith(".") for one in found)


def test_the_language_is_told_from_the_words():
    languages = ("en", "de", "fr")
    assert language_of("Das ist nicht für uns, und wir werden es sehen.", languages) == "de"
    assert language_of("Il est dans la maison avec nous.", languages) == "fr"
    assert language_of("There is a cat in the house.", languages) == "en"
    assert language_of("xyz", ("fr", "en")) == "fr"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("unit", ["1 ", "a.", "a@", "[", "\n ", "1,", '."', "[a](", "1 000", "http://", "> \n", "$1.1"])
@pytest.mark.parametrize("language", ["en", "fr"])
def test_a_hostile_text_is_read_in_the_time_of_any_other(language, unit):
    text = unit * (60_000 // len(unit))
    words = reader(language).words(cleaned(text))
    assert sum(1 for paragraph in paragraphs(words) for _ in sentences(paragraph, 300)) >= 0
    assert len(words) >= 0
