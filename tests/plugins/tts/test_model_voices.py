"""Piper, Coqui and Bark speak through their own loading code, with small models of random weights."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from hooks import ModelUnavailable
from plugins.tts import bark, coqui, piper
from plugins.tts.bark import BarkSettings
from plugins.tts.catalog import catalog
from plugins.tts.coqui import CoquiSettings
from plugins.tts.piper import PiperSettings
from tests.plugins.tts import random_voices
from tests.worker_client import CPU

TEXT = "one two three four. Five words are in this."


@pytest.fixture(scope="module")
def voice(tmp_path_factory):
    return random_voices.write_piper(tmp_path_factory.mktemp("piper") / "voice.onnx")


def test_piper_speaks_as_long_as_there_are_phonemes(desk, voice, samples_of):
    speaker = piper.load(settings=PiperSettings(model=voice), device=CPU)
    speech, longer = desk.speech(speaker, TEXT), desk.speech(speaker, f"{TEXT} {TEXT} {TEXT}")
    assert (speech.voice, speech.sample_rate, speech.language) == ("piper voice", 16_000, "en-us")
    assert 1 < speech.duration < 5
    assert longer.duration == pytest.approx(3 * speech.duration, rel=0.2)
    assert np.abs(samples_of(speech)).max() > 1000
    assert "no speaker in this voice of Piper 'nobody'" in refused(desk, speaker, voice="nobody")
    assert desk.speech(speaker, "one", pitch=3).problems == ("Piper cannot change the pitch: that was left out.",)


def refused(desk, speaker, **meta) -> str:
    return desk.outcome(speaker, "one", **meta).reason


def test_a_voice_that_is_not_whole_says_what_is_missing(tmp_path, voice):
    with pytest.raises(ModelUnavailable, match=r"no\.onnx, no\.onnx\.json is missing.*hf download"):
        piper.load(settings=PiperSettings(model=tmp_path / "no.onnx"), device=CPU)
    for name in ("bad.onnx", "bad.onnx.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ModelUnavailable, match="is no voice of Piper"):
        piper.load(settings=PiperSettings(model=tmp_path / "bad.onnx"), device=CPU)
    files = piper.model_spec(PiperSettings(model=voice)).files
    assert [path.name for path in files] == ["voice.onnx", "voice.onnx.json"]


def test_coqui_speaks_with_a_vits(desk, tmp_path, samples_of):
    folder = random_voices.write_vits(tmp_path / "vits")
    speaker = coqui.load(settings=CoquiSettings(model=folder), device=CPU)
    speech = desk.speech(speaker, TEXT)
    assert (speech.voice, speech.sample_rate, speech.cloned) == ("coqui vits", 22_050, False)
    assert 0.2 < speech.duration < 30
    assert np.abs(samples_of(speech)).max() > 1000


def test_coqui_takes_no_voice_without_consent_and_says_what_to_fetch(tmp_path):
    sample = tmp_path / "somebody.wav"
    with pytest.raises(ValidationError, match="i_have_the_speakers_consent = true"):
        CoquiSettings(model=tmp_path, sample=sample)
    assert CoquiSettings(model=tmp_path, sample=sample, i_have_the_speakers_consent=True).sample == sample
    with pytest.raises(ModelUnavailable, match=r"needs config\.json and its weights.*hf download coqui/XTTS-v2"):
        coqui.load(settings=CoquiSettings(model=tmp_path), device=CPU)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.pth").write_bytes(b"no tensors")
    with pytest.raises(ModelUnavailable, match="cannot be used"):
        coqui.load(settings=CoquiSettings(model=tmp_path), device=CPU)


def test_bark_speaks(desk, tmp_path, samples_of):
    folder = random_voices.write_bark(tmp_path / "bark")
    speaker = bark.load(settings=BarkSettings(model=folder), device=CPU)
    speech = desk.speech(speaker, "one two three", emotion="happy")
    assert (speech.voice, speech.sample_rate) == ("bark bark", 24_000)
    assert 0.1 < speech.duration < 10
    assert len(samples_of(speech)) > 2000
    assert "no emotion of Bark 'bored'" in refused(desk, speaker, emotion="bored")


def test_bark_says_what_to_fetch(tmp_path):
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors is missing.*hf download suno/bark-small"):
        bark.load(settings=BarkSettings(model=tmp_path), device=CPU)


def test_the_catalog_states_of_every_family_what_it_costs_and_on_which_terms():
    families = catalog()
    assert set(families) == {"espeak", "piper", "coqui", "bark"}
    assert all(family.licence and family.voices and family.languages for family in families.values())
    assert [name for name, family in families.items() if family.cloning] == ["coqui"]
    known = {voice.architecture for voice in families["coqui"].voices}
    assert known == {"vits", "tacotron2", "xtts", "tortoise", "bark"}
