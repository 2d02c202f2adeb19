"""`sensorium say` beside a running host: what is asked of it, and what people are told."""

from __future__ import annotations

import json

from host.cli import say
from host.views import Spoken


def test_say_tells_where_it_was_spoken_and_by_whom(cli, host, here):
    ended = cli("say", "good morning", "--voice", "en-gb")
    assert ended.code == 0
    assert "speech.wav" in ended.flat
    assert "1.2 s, en-gb by espeak" in ended.flat


def test_say_prints_the_documented_shape(cli, host, here):
    found = Spoken.model_validate(json.loads(cli("say", "hi", "--out", "a.mp3", "--plugin", "piper", "--json").out))
    assert (found.plugin, found.path) == ("piper", str(here / "a.mp3"))


def test_say_tells_what_could_not_be_done(cli, host):
    assert "It whispers." in cli("say", "hi", "--emotion", "sad").flat


def test_say_refuses_what_it_cannot_write(cli, host):
    ended = cli("say", "hi", "--out", "a.exe")
    assert ended.code == 2
    assert "of no format that can be written" in ended.flat_err


def test_say_refuses_what_is_too_long_for_a_call(cli, host, monkeypatch):
    monkeypatch.setattr(say, "LARGEST", 5)
    ended = cli("say", "longer than that")
    assert ended.code == 2
    assert "folder speak/" in ended.flat_err
